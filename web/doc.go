// Package web is the HTTP of the service that is not Socket.IO: probes, health, metrics and the API for the internal port,
// and for the public port the demo page with the browser builds of socket.io-client, which existing front-ends load from
// the server.
//
// It knows no Redis and no sockets. What it must ask or do, it is given: as functions, and for the API as one small
// interface per resource, all of them fields of APIConfig. openapi.json is the API's contract, held against the handlers by
// the tests.
package web
