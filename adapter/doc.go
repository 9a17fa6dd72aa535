// Package adapter is what stands between the replicas and their sockets: the log of broadcasts, who is in which
// room, the window of recent broadcasts a returning client is served from, and the way events come in from Redis.
//
// It knows channels, rooms and bytes. What an event means, who may join a room and how a packet looks on the
// wire is for others.
package adapter
