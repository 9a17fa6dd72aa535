package adapter

import (
	"encoding/json"
	"strings"
	"time"
)

// Kind says what a Message does.
type Kind uint8

// The kinds of messages. What is not one of ours to act on is Other: it has a place in the log and nothing else.
const (
	Event      Kind = iota // an event for sockets
	Join                   // sockets join rooms
	Leave                  // sockets leave rooms
	Disconnect             // sockets are disconnected
	Other
)

// Message is one thing that happens to the sockets of a namespace which are in at least one of some rooms, but for
// those in others, on all servers.
type Message struct {
	Kind      Kind
	Namespace string   // empty means "/"
	Rooms     []string // a socket's id is a room too; nil means everybody
	Except    []string
	// Args are an Event's name and arguments: the elements of a JSON array, without its brackets.
	Args []byte
	// Binary says that Args has binary values, each as the object {"_placeholder":true,"num":-1,"base64":"…"}, with
	// its members in this order, no white space, and standard base64.
	Binary bool
	// Volatile events go to those who can take them at once, and are not kept for recovery.
	Volatile bool
	// Into are the rooms to Join or Leave.
	Into []string
	// Close says that a Disconnect closes the connection too.
	Close bool
}

// Entry is a Message in the log.
type Entry struct {
	Position
	Message
	// Key tells what was appended apart from all else, see Record. It is empty for what others wrote.
	Key string
	// From is the id of the server that wrote it.
	From string
	// At is when it was written, by our clock. Zero means now.
	At time.Time
}

// Record is what goes into the log at once or not at all: the messages that one incoming event becomes, maybe none.
type Record struct {
	// Key is what it counts as, made by the function Key: it is appended only if none of that key was within the dedupe
	// window. An empty one is appended always.
	Key      string
	Messages []Message
	// Cursor is where it was in its durable input stream: with the record it is noted that everything up to there is
	// done. Zero means that it came from elsewhere.
	Cursor Position
	// Event is what the feed of the lease's channel gets of it, if it is new: an event's JSON. Nil means nothing.
	Event []byte
}

// Request is a question to all other servers, or to their sockets. It is not in the log.
type Request struct {
	Kind      RequestKind
	ID        string // of the request; empty means that no answer is wanted
	From      string // id of the server that asks
	Namespace string // empty means "/"
	Rooms     []string
	Except    []string
	Args      []byte // as in Message: an event for sockets and its arguments, or for servers
	Binary    bool
}

// RequestKind says what is asked.
type RequestKind uint8

// The kinds of requests.
const (
	FetchSockets   RequestKind = iota // which sockets are in Rooms: one Response
	EmitWithAck                       // an event for sockets: one Response with Count, then one with Args for each socket that acknowledges
	ServerSideEmit                    // an event for the servers: one Response with Args, if ID is set
	ListSockets                       // the ids of the sockets in Rooms: one Response
	ListRooms                         // all rooms: one Response
)

// Response is an answer to a Request.
type Response struct {
	Kind      RequestKind
	ID        string // of the request
	From      string // id of the server that answers
	Namespace string
	Sockets   []RemoteSocket // of FetchSockets; of ListSockets with their ids alone
	Rooms     []string       // of ListRooms
	Count     int            // of EmitWithAck: the sockets that got it; -1 in those that carry Args
	Args      []byte         // one JSON value: what a socket or a server answered
	Binary    bool
}

// PartialError says that a Request was not answered by all servers in time.
type PartialError struct {
	Missing []string // names of the servers that did not answer, or not to the end
}

func (e *PartialError) Error() string {
	return "no complete answer from server " + strings.Join(e.Missing, ", ")
}

// RemoteSocket is a socket as other servers see it.
type RemoteSocket struct {
	ID        string          `json:"id"`
	Rooms     []string        `json:"rooms"`     // with the one of its id
	Data      json.RawMessage `json:"data"`      // nil means none
	Handshake json.RawMessage `json:"handshake"` // an object like Node's socket.handshake, or nil
}

// StoredSession is what a returning client gets back, as kept in Redis where other servers find it.
type StoredSession struct {
	PID   string // the secret id that the client returns with
	ID    string // of the socket
	Rooms []string
	Data  json.RawMessage // the application's own knowledge of the client, or nil
}
