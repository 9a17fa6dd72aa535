// Package web is the HTTP of the service that is not Socket.IO: probes and metrics for the internal port, and for the
// public port the demo page with the browser builds of socket.io-client, which existing front-ends load from the server.
//
// It knows no rooms, no Redis and no sockets. What it must ask or do, it is given as a function.
package web
