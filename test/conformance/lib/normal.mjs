// Takes out of packets what differs from one connection to the next: ids and offsets.

/** Socket.IO packet as text, the ids replaced, keys sorted, and without a trailing offset: events of the twins end with no text. */
export function normal(packet) {
  if (typeof packet !== 'string') return `binary ${packet.toString('hex')}`;
  const [, head, json] = packet.match(/^(\d(?:\d+-)?(?:\/[^,]*,)?\d*)(.*)$/s) ?? [null, packet, ''];
  if (json === '') return packet;
  let data;
  try {
    data = JSON.parse(json);
  } catch {
    return packet;
  }
  if (/^[25]/.test(head) && typeof data.at?.(-1) === 'string' && data.length > 1) data.pop();
  if (head[0] === '0' && data.sid) data = { ...data, sid: idShape(data.sid), pid: data.pid && idShape(data.pid) };
  return head + stable(data);
}

const idShape = (id) => (/^[\w-]{20}$/.test(id) ? '<id>' : id);

/** JSON with sorted keys. */
export function stable(value) {
  return JSON.stringify(value, (_, v) => (
    v && typeof v === 'object' && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v
  ));
}
