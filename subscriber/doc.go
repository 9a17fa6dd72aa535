// Package subscriber is for services that consume events of the bus: the counterpart of package publisher. All processes
// that use one group share the group's work, and each event that the bus accepts on the group's channels is handled by
// one of them, at least once:
//
//   - What a process has not finished when it dies, another one of the group takes over, a minute later by default; what
//     it has not finished when it stops in good order, within seconds. While there is no process at all, events wait in the feed,
//     for as long as the bus keeps them (delivery.feed.retention, delivery.feed.maxLength).
//   - A failure is tried again with growing delays; the number of attempts and the time of the next are kept in Redis. An
//     event that cannot be handled goes to the bus's dead letters, with the subscription "svc:<group>": `eventbus dlq` lists
//     and replays it, to this group alone.
//   - Handlers therefore see an event twice now and then: event.ID tells.
//
// A group begins with the first Run of its first process: it gets the events from then on, until Unsubscribe deletes it.
//
// It needs Redis 6.2 or later, and the same Redis as the bus, with the rights to use keys below Config.KeyPrefix. It is
// built from the consumer that runs webhooks in the bus (package delivery), so that both fail, retry and give up in the same way.
package subscriber
