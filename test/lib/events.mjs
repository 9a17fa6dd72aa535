// Events as the platform's services publish them: plain JSON on a plain Redis channel.
import { randomUUID } from 'node:crypto';

const CHANNELS = {
  'photo.uploaded': 'photo:upload',
  'photo.deleted': 'photo:upload',
  'photo.processing.started': 'photo:processing',
  'photo.processing.stage.completed': 'photo:processing',
  'photo.processing.completed': 'photo:completion',
  'photo.processing.failed': 'photo:completion',
  'batch.processing.completed': 'photo:completion',
};

/** What a browser sees the events of a channel as. */
const EVENT_NAMES = {
  'photo:upload': 'upload.event',
  'photo:processing': 'processing.event',
  'photo:completion': 'completion.event',
};

export function event(type, data, metadata = {}) {
  return {
    id: randomUUID(),
    type,
    data,
    metadata: { source: 'black-box', version: '1.0', ...metadata },
    timestamp: new Date().toISOString(),
  };
}

/** Publishes as the seed's services do; fails at once when no server is listening. */
export async function publish(redis, ...events) {
  const pipeline = redis.client.pipeline();
  for (const e of events) pipeline.publish(CHANNELS[e.type], JSON.stringify(e));
  for (const [error, receivers] of await pipeline.exec()) {
    if (error) throw error;
    if (receivers === 0) throw new Error('nobody is subscribed to the channel');
  }
}

/** Publishes durably: the events wait in Redis until they are delivered. */
export async function add(redis, ...events) {
  const pipeline = redis.client.pipeline();
  for (const e of events) {
    pipeline.xadd(`eventbus:in:${CHANNELS[e.type]}`, 'MAXLEN', '~', 100_000, '*', 'event', JSON.stringify(e));
  }
  for (const [error] of await pipeline.exec()) if (error) throw error;
}

/** Events numbered from..to-1 in data.progress, for whoever watches the photo. */
export function numbered(photoId, from, to) {
  return Array.from({ length: to - from }, (_, i) => event('photo.processing.stage.completed', {
    photoId, jobId: 'numbered', stage: 'resize', result: { bytes: 12_345 }, progress: from + i,
  }));
}

/** The numbers of such events in the order a client received them. */
export function numbers(client) {
  return client.bodies('processing.event').map((e) => e.data.progress);
}

/** 0..n-1 */
export function range(n) {
  return Array.from({ length: n }, (_, i) => i);
}

/** One event of each of the seven types, for the rooms of one client and one photo. */
export function seven({ clientId, sessionId, user }, photoId) {
  const metadata = { clientId, sessionId, traceId: randomUUID() };
  const job = { photoId, jobId: randomUUID() };
  return [
    event('photo.uploaded', { photoId, userId: user, filename: 'Zürich \u2028 "日本" 🎞.jpg', size: 4_200_000, mimeType: 'image/jpeg' }, metadata),
    event('photo.deleted', { photoId, userId: user }, metadata),
    event('photo.processing.started', { ...job, userId: user, stages: ['metadata', 'thumbnails'], estimatedDuration: 1.5 }, metadata),
    event('photo.processing.stage.completed', {
      ...job, userId: user, stage: 'metadata', result: { nested: [null, true, -0.5, 1e21, '</script>', { '': [] }] }, nextStage: 'thumbnails', progress: 50,
    }, metadata),
    event('photo.processing.completed', {
      ...job,
      results: {
        thumbnails: [{ size: 'small', url: 'https://cdn.example/s.jpg', dimensions: { width: 150, height: 100 } }],
        metadata: { dimensions: { width: 6000, height: 4000 }, format: 'jpeg', colorSpace: 'sRGB', exif: { iso: 100 } },
        optimization: { originalSize: 4_200_000, optimizedSize: 1_000_000, compressionRatio: 0.238 },
      },
      duration: 2345,
    }, metadata),
    event('photo.processing.failed', { ...job, stage: 'thumbnails', error: { code: 'E_DECODE', message: 'bad scan', details: null }, retryable: false }, metadata),
    event('batch.processing.completed', { batchId: randomUUID(), photoIds: [photoId], total: 1, successful: 1, failed: 0 }, metadata),
  ];
}

/** Groups events by the name a browser sees them under. */
export function byName(events) {
  const groups = { 'upload.event': [], 'processing.event': [], 'completion.event': [] };
  for (const e of events) groups[EVENT_NAMES[CHANNELS[e.type]]].push(e);
  return groups;
}
