// Prometheus text by hand: the few numbers of the seed that the suite watches.

export class Metrics {
  #active = 0;
  #connections = 0;
  #disconnections = new Map(); // labels -> count, as are the next three
  #received = new Map();
  #errors = new Map();
  #broadcasts = new Map();

  connected() {
    this.#active += 1;
    this.#connections += 1;
  }

  disconnected(reason) {
    this.#active -= 1;
    add(this.#disconnections, `{reason="${reason}"}`);
  }

  received(channel, type) {
    add(this.#received, `{channel="${channel}",event_type="${type}"}`);
  }

  failed(channel, type) {
    add(this.#errors, `{channel="${channel}",error_type="${type}",category="validation"}`);
  }

  broadcast(name, milliseconds) {
    add(this.#broadcasts, `_bucket{room_type="${name}",le="+Inf"}`);
    add(this.#broadcasts, `_count{room_type="${name}"}`);
    add(this.#broadcasts, `_sum{room_type="${name}"}`, milliseconds);
  }

  text(rooms) {
    return [
      family('websocket_active_connections', 'gauge', [['', this.#active]]),
      family('websocket_connections_total', 'counter', [['', this.#connections]]),
      family('websocket_disconnections_total', 'counter', this.#disconnections),
      family('events_received_total', 'counter', this.#received),
      family('event_errors_total', 'counter', this.#errors),
      family('room_broadcast_duration_milliseconds', 'histogram', this.#broadcasts),
      family('active_rooms_total', 'gauge', [['', rooms]]),
    ].join('');
  }
}

function add(map, labels, value = 1) {
  map.set(labels, (map.get(labels) ?? 0) + value);
}

function family(name, type, samples) {
  const lines = [...samples].map(([labels, value]) => `eventbus_${name}${labels} ${value}\n`);
  return `# TYPE eventbus_${name} ${type}\n${lines.join('')}`;
}
