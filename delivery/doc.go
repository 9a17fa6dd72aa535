// Package delivery brings accepted events to who has subscribed to them beside the browsers: webhooks, Go handlers in
// this process, and, through package subscriber, services elsewhere. Each subscription is a consumer group of a channel's
// feed (adapter.Feed): what it has not acknowledged stays in Redis, so each event reaches it at least once, whatever
// process dies. Whoever fails is tried again with growing delays, left alone for a while by a breaker, and what cannot
// be delivered ends in the dead letters with the reason.
//
// Who leads a channel runs its subscriptions (Subscribers.Lead). A Consumer is one subscription's run and knows nothing
// of leaders. Which events a filter lets through, routing knows.
package delivery
