// Package adapter is what makes many replicas one: the log of what happens to sockets, who leads which channel, where the
// sessions of clients are, and how servers ask each other, all of it in Redis; and in memory, who is in which room, and the
// window of recent broadcasts that a returning client is served from.
//
// What is in Redis for all servers has the form of Node's: Log and Peers that of @socket.io/redis-streams-adapter, PubSub
// that of @socket.io/redis-adapter, Emitters that of @socket.io/redis-emitter; the files wire*.go write and read it.
//
// It knows channels, rooms and bytes. What an event means, who may join a room and how a packet looks on the
// wire is for others.
package adapter
