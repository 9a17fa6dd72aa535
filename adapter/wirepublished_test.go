package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodeCluster(t *testing.T) {
	env := func(typ, data string) string { return `{"type":` + typ + `,"data":` + data + `,"uid":"u","nsp":"/"}` }
	for _, c := range []struct {
		name, text string
		want       any
	}{
		{"heartbeat", `{"type":2,"uid":"u","nsp":"/a"}`, Entry{From: "u", Message: Message{Kind: Other, Namespace: "/a"}}},
		{"a type of the future", env("99", `5`), Entry{From: "u", Message: Message{Kind: Other, Namespace: "/"}}},
		{"an ack for a client", env("3", `{"packet":{"type":2,"data":["a"],"id":7},`+noOpts+`}`), Entry{From: "u", Message: Message{Kind: Other, Namespace: "/"}}},
		{"broadcast", env("3", `{"packet":{"type":2,"data":["a"],"nsp":"/other"},`+noOpts+`}`), Entry{From: "u", Message: Message{Namespace: "/", Args: []byte(`"a"`)}}},
		{"fetch", env("7", `{"requestId":"q","opts":{"rooms":[1],"except":["e"]}}`),
			Request{Kind: FetchSockets, ID: "q", From: "u", Namespace: "/", Rooms: []string{"1"}, Except: []string{"e"}}},
		{"emit with ack", env("3", `{"packet":{"type":2,"data":["a",1]},"requestId":"q","opts":{"rooms":["r"]}}`),
			Request{Kind: EmitWithAck, ID: "q", From: "u", Namespace: "/", Rooms: []string{"r"}, Args: []byte(`"a",1`)}},
		{"server-side emit", env("9", `{"packet":["a"],"requestId":"q"}`), Request{Kind: ServerSideEmit, ID: "q", From: "u", Namespace: "/", Args: []byte(`"a"`)}},
		{"server-side emit of what is reserved for sockets", env("9", `{"packet":["disconnect"]}`), Request{Kind: ServerSideEmit, From: "u", Namespace: "/", Args: []byte(`"disconnect"`)}},
		{"no sockets", env("8", `{"requestId":"q","sockets":[]}`), Response{Kind: FetchSockets, ID: "q", From: "u", Namespace: "/"}},
		{"sockets", env("8", `{"requestId":"q","sockets":[{"id":"s","rooms":["s",5],"data":null,"handshake":{}},{"id":"t","data":[ 1 ]}]}`),
			Response{Kind: FetchSockets, ID: "q", From: "u", Namespace: "/", Sockets: []RemoteSocket{
				{ID: "s", Rooms: []string{"s", "5"}, Handshake: json.RawMessage(`{}`)}, {ID: "t", Data: json.RawMessage(`[ 1 ]`)}}}},
		{"nobody", env("11", `{"requestId":"q","clientCount":0}`), Response{Kind: EmitWithAck, ID: "q", From: "u", Namespace: "/"}},
		{"undefined", env("12", `{"requestId":"q"}`), Response{Kind: EmitWithAck, ID: "q", From: "u", Namespace: "/", Count: -1, Args: []byte("null")}},

		{"not JSON", `{`, nil}, {"nothing", ``, nil}, {"no object", "\x90", nil}, {"more", env("2", "{}") + "x", nil}, {"no type", `{"uid":"u","nsp":"/"}`, nil},
		{"type in quotes", env(`"3"`, `{}`), nil}, {"no uid", `{"type":2,"nsp":"/"}`, nil}, {"no nsp", `{"type":2,"uid":"u"}`, nil}, {"uid is a number", `{"type":2,"uid":5,"nsp":"/"}`, nil},
		{"no data", `{"type":3,"uid":"u","nsp":"/"}`, nil}, {"fetch without id", env("7", `{`+noOpts+`}`), nil}, {"fetch without opts", env("7", `{"requestId":"q"}`), nil},
		{"id is a number", env("7", `{"requestId":5,`+noOpts+`}`), nil}, {"emit without opts", env("3", `{"packet":{"type":2,"data":["a"]},"requestId":"q"}`), nil},
		{"emit without packet", env("3", `{"requestId":"q",`+noOpts+`}`), nil}, {"emit of what is reserved", env("3", `{"packet":{"type":2,"data":["connect"]},"requestId":"q",`+noOpts+`}`), nil},
		{"server-side emit without name", env("9", `{"packet":[]}`), nil}, {"server-side emit of what is reserved", env("9", `{"packet":["connection"]}`), nil},
		{"no list of sockets", env("8", `{"requestId":"q"}`), nil}, {"a socket without id", env("8", `{"requestId":"q","sockets":[{}]}`), nil},
		{"a socket that is none", env("8", `{"requestId":"q","sockets":[5]}`), nil}, {"a wrong handshake", env("8", `{"requestId":"q","sockets":[{"id":"s","handshake":5}]}`), nil},
		{"a wrong room", env("8", `{"requestId":"q","sockets":[{"id":"s","rooms":[{}]}]}`), nil}, {"no count", env("11", `{"requestId":"q"}`), nil},
		{"a wrong count", env("11", `{"requestId":"q","clientCount":-1}`), nil}, {"a huge count", env("11", `{"requestId":"q","clientCount":9999999999}`), nil},
		{"an answer without id", env("12", `{"packet":1}`), nil}, {"a wrong answer without id", env("11", `{"clientCount":1}`), nil},
	} {
		packed, _ := jsonToMsgpack(nil, c.text, false)
		for _, payload := range [][]byte{[]byte(c.text), packed} {
			if payload == nil {
				continue
			}
			got, err := decodeCluster(payload)
			if c.want == nil {
				if !errors.Is(err, errWire) || got.any() != nil {
					t.Errorf("%s: got %+v, %v, want an error", c.name, got.any(), err)
				}
				continue
			}
			want := c.want
			if r, ok := want.(Response); ok && c.name == "sockets" && payload[0] != '{' {
				r.Sockets = slices.Clone(r.Sockets)
				r.Sockets[1].Data = json.RawMessage(`[1]`)
				want = r
			}
			if err != nil || !reflect.DeepEqual(got.any(), want) {
				t.Errorf("%s: got\n%+v, %v, want\n%+v", c.name, got.any(), err, want)
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, r := range []Request{{Kind: FetchSockets}, {Kind: EmitWithAck, Args: []byte(`"a"`)}, {Kind: EmitWithAck, ID: "q"}, {Kind: ServerSideEmit}, {Kind: 99, ID: "q", Args: []byte(`"a"`)}} {
		if b, err := encodeRequest(r, jsonForm); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", r, b, err)
		}
		if b, err := encodeClassicRequest(r); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", r, b, err)
		}
	}
	for _, r := range []Request{{Kind: ListRooms, ID: "q"}, {Kind: ListSockets, ID: "q"}} {
		if b, err := encodeRequest(r, jsonForm); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", r, b, err)
		}
	}
	for _, r := range []Response{{Kind: FetchSockets}, {Kind: 99, ID: "q"}} {
		if b, err := encodeResponse(r, jsonForm); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", r, b, err)
		}
		if b, err := encodeClassicResponse(r); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", r, b, err)
		}
	}
	for _, m := range []Message{{}, {Kind: Other}} {
		if b, err := encodeMessage("u", m, jsonForm); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", m, b, err)
		}
		if b, err := encodeClassicEvent("u", m); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", m, b, err)
		}
		if b, err := encodeClassicCommand("u", m); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", m, b, err)
		}
	}
	for _, s := range []StoredSession{{ID: "s"}, {PID: "p"}, {ID: "s", PID: "p", Data: json.RawMessage("{")}} {
		if text, err := encodeSession(s); !errors.Is(err, errWire) {
			t.Errorf("%+v is %s, %v, want an error", s, text, err)
		}
	}
}

func TestDecodeClassicEvent(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       *Entry
	}{
		{"without namespace", `["u",{"type":2,"data":["a"]},{"rooms":["r"]}]`, &Entry{From: "u", Message: Message{Namespace: "/", Rooms: []string{"r"}, Args: []byte(`"a"`)}}},
		{"of older releases", `["emitter",{"type":5,"data":["a",` + string(standIn("AQ==")) + `],"nsp":"/x"},{"rooms":[],"flags":{"volatile":true}},"more"]`,
			&Entry{From: "emitter", Message: Message{Namespace: "/x", Args: slices.Concat([]byte(`"a",`), standIn("AQ==")), Binary: true, Volatile: true}}},
		{"an ack for a client", `["u",{"type":2,"data":["a"],"id":1,"nsp":"/x"},{}]`, &Entry{From: "u", Message: Message{Kind: Other, Namespace: "/x"}}},
		{"no array", `{"0":"u"}`, nil}, {"no opts", `["u",{"type":2,"data":["a"]}]`, nil}, {"no packet", `["u",null,{}]`, nil}, {"uid is a number", `[1,{"type":2,"data":["a"]},{}]`, nil},
		{"what is reserved", `["u",{"type":2,"data":["connect"]},{}]`, nil}, {"wrong rooms", `["u",{"type":2,"data":["a"]},{"rooms":[{}]}]`, nil}, {"another packet", `["u",{"type":0},{}]`, nil},
	} {
		payload, err := jsonToMsgpack(nil, c.text, true)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeClassicEvent(payload)
		if c.want == nil {
			if !errors.Is(err, errWire) {
				t.Errorf("%s: got %+v, %v, want an error", c.name, got, err)
			}
		} else if err != nil || !reflect.DeepEqual(got, *c.want) {
			t.Errorf("%s: got\n%+v, %v, want\n%+v", c.name, got, err, *c.want)
		}
		if _, err := decodeClassicEvent(append(payload, 0)); !errors.Is(err, errWire) {
			t.Errorf("%s, and more: %v, want an error", c.name, err)
		}
	}
	if got, err := decodeClassicEvent([]byte(`["u",{"type":2,"data":["a"]},{}]`)); err == nil {
		t.Errorf("JSON is %+v, want an error: it is never there", got)
	}
}

func TestDecodeClassicRequest(t *testing.T) {
	entry := func(m Message) Entry {
		m.Namespace = "/x"
		return Entry{From: "u", Message: m}
	}
	for _, c := range []struct {
		text string
		want any
	}{
		{`{"uid":"u","type":2,"sid":"s","room":"r","requestId":"q"}`, entry(Message{Kind: Join, Rooms: []string{"s"}, Into: []string{"r"}})},
		{`{"uid":"u","type":3,"sid":"s","room":5}`, entry(Message{Kind: Leave, Rooms: []string{"s"}, Into: []string{"5"}})},
		{`{"uid":"u","type":4,"sid":"s","close":true}`, entry(Message{Kind: Disconnect, Rooms: []string{"s"}, Close: true})},
		{`{"uid":"u","type":4,"sid":"s"}`, entry(Message{Kind: Disconnect, Rooms: []string{"s"}})},
		{`{"uid":"u","type":10}`, entry(Message{Kind: Other})},
		{`{"uid":"u","type":0,"requestId":"q","rooms":["r",1]}`, Request{Kind: ListSockets, ID: "q", From: "u", Namespace: "/x", Rooms: []string{"r", "1"}}},
		{`{"uid":"u","type":1,"requestId":"q"}`, Request{Kind: ListRooms, ID: "q", From: "u", Namespace: "/x"}},
		{`{"uid":"u","type":5,"requestId":"q","opts":{"rooms":["r"],"except":["e"]}}`, Request{Kind: FetchSockets, ID: "q", From: "u", Namespace: "/x", Rooms: []string{"r"}, Except: []string{"e"}}},
		{`{"type":6,"data":["a"]}`, Request{Kind: ServerSideEmit, Namespace: "/x", Args: []byte(`"a"`)}},
		{``, nil}, {`[]`, nil}, {`{}`, nil}, {`{"type":"2"}`, nil}, {`{"type":2}`, nil}, {`{"type":4}`, nil}, {`{"type":4,"sid":""}`, nil}, {`{"type":4,"sid":5}`, nil},
		{`{"type":2,"sid":"s"}`, nil}, {`{"type":3,"sid":"s","room":null}`, nil}, {`{"type":2,"sid":"s","room":["r"]}`, nil}, {`{"type":2,"opts":{},"rooms":"r"}`, nil},
		{`{"type":2,"opts":5,"sid":"s","room":"r"}`, nil}, {`{"uid":5,"type":1,"requestId":"q"}`, nil}, {`{"type":0,"rooms":[]}`, nil}, {`{"type":1}`, nil}, {`{"type":5,"requestId":"q"}`, nil},
		{`{"type":0,"requestId":"q","rooms":"r"}`, nil}, {`{"type":6}`, nil}, {`{"type":6,"data":["connection"]}`, nil}, {`{"type":7,"requestId":"q","opts":{}}`, nil},
		{`{"type":7,"opts":{},"packet":{"type":2,"data":["a"]}}`, nil}, {`{"type":7,"requestId":"q","packet":{"type":2,"data":["a"]}}`, nil}, {`{"type":1,"requestId":"q"}{}`, nil},
	} {
		packed, _ := jsonToMsgpack(nil, c.text, false)
		for _, payload := range [][]byte{[]byte(c.text), packed} {
			if payload == nil {
				continue
			}
			got, err := decodeClassicRequest("/x", payload)
			if c.want == nil {
				if !errors.Is(err, errWire) || got.any() != nil {
					t.Errorf("%s: got %+v, %v, want an error", c.text, got.any(), err)
				}
			} else if err != nil || !reflect.DeepEqual(got.any(), c.want) {
				t.Errorf("%s: got\n%+v, %v, want\n%+v", c.text, got.any(), err, c.want)
			}
		}
	}
}

func TestDecodeClassicResponse(t *testing.T) {
	for _, c := range []struct {
		text string
		want *Response
	}{
		{`{"requestId":"q","sockets":["a","b"]}`, &Response{Kind: ListSockets, ID: "q", Namespace: "/x", Sockets: []RemoteSocket{{ID: "a"}, {ID: "b"}}}},
		{`{"requestId":"q","sockets":[]}`, &Response{Kind: FetchSockets, ID: "q", Namespace: "/x"}},
		{`{"requestId":"q","sockets":[{"id":"a"}]}`, &Response{Kind: FetchSockets, ID: "q", Namespace: "/x", Sockets: []RemoteSocket{{ID: "a"}}}},
		{`{"requestId":"q","rooms":["a",1]}`, &Response{Kind: ListRooms, ID: "q", Namespace: "/x", Rooms: []string{"a", "1"}}},
		{`{"requestId":"q","type":6}`, &Response{Kind: ServerSideEmit, ID: "q", Namespace: "/x", Args: []byte("null")}},
		{`{"requestId":"q","type":8,"clientCount":3}`, &Response{Kind: EmitWithAck, ID: "q", Namespace: "/x", Count: 3}},
		{`{"requestId":"q","type":9,"packet":[1]}`, &Response{Kind: EmitWithAck, ID: "q", Namespace: "/x", Count: -1, Args: []byte("[1]")}},
		{`{"requestId":"q"}`, nil}, {`{"sockets":[]}`, nil}, {`{"requestId":1,"sockets":[]}`, nil}, {`{"requestId":"q","sockets":5}`, nil}, {`{"requestId":"q","sockets":["a",{}]}`, nil},
		{`{"requestId":"q","sockets":["a",""]}`, nil}, {`{"requestId":"q","sockets":[{"id":"a"},"b"]}`, nil}, {`{"requestId":"q","rooms":"a"}`, nil}, {`{"requestId":"q","type":8}`, nil}, {`"x"`, nil}, {``, nil},
	} {
		got, err := decodeClassicResponse("/x", []byte(c.text))
		if c.want == nil {
			if !errors.Is(err, errWire) {
				t.Errorf("%s: got %+v, %v, want an error", c.text, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, *c.want) {
			t.Errorf("%s: got\n%+v, %v, want\n%+v", c.text, got, err, *c.want)
		}
		again, err := encodeClassicResponse(got)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		back, err := decodeClassicResponse("/x", again)
		if len(got.Sockets) == 1 { // Node wants these two
			got.Sockets[0].Data, got.Sockets[0].Handshake = json.RawMessage("{}"), json.RawMessage("{}")
		}
		if err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%s: encoded as %q, and decoded\n%+v, %v", c.text, again, back, err)
		}
	}
}

// JSON has no binary values, whatever looks like one.
func TestStandInsInJSONStayObjects(t *testing.T) {
	for _, text := range []string{
		`{"requestId":"q","sockets":[{"id":"a","data":` + string(standIn("AQ==")) + `}]}`,
		`{"requestId":"q","type":6,"data":` + string(standIn("AQ==")) + `}`,
	} {
		r, err := decodeClassicResponse("/", []byte(text))
		if err != nil || r.Binary {
			t.Errorf("%s: got %+v, %v, want nothing binary", text, r, err)
		}
	}
	p, err := decodeClassicRequest("/", []byte(`{"type":6,"data":["a",`+string(standIn("AQ=="))+`]}`))
	if err != nil || p.Request.Binary {
		t.Errorf("got %+v, %v, want nothing binary", p.any(), err)
	}
}

func TestSession(t *testing.T) {
	text, err := encodeSession(StoredSession{PID: "p", ID: "s", Rooms: []string{"r"}})
	if err != nil {
		t.Fatal(err)
	}
	want := StoredSession{PID: "p", ID: "s", Rooms: []string{"s", "r"}, Data: json.RawMessage("{}")}
	if got, err := decodeSession(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{`[]`, `{}`, `{"sid":"s","pid":"p"}`, `{"sid":"s","rooms":[]}`, `{"pid":"p","rooms":[]}`, `{"sid":"s","pid":5,"rooms":[]}`,
		`{"sid":"s","pid":"","rooms":[]}`, `{"sid":"s","pid":"p","rooms":[null]}`, `{"sid":"s","pid":"p","rooms":"r"}`} {
		if got, err := decodeSession(packed(t, bad)); !errors.Is(err, errWire) {
			t.Errorf("%s: got %+v, %v, want an error", bad, got, err)
		}
	}
	for _, bad := range []string{"", "?", text + "AAAA", "{}"} {
		if got, err := decodeSession(bad); !errors.Is(err, errWire) {
			t.Errorf("%q: got %+v, %v, want an error", bad, got, err)
		}
	}
}

// Whatever is published, decoding does not panic; what is taken is JSON, and the same after it is encoded in both
// forms and decoded again.
func FuzzDecodeCluster(f *testing.F) {
	for _, w := range readNodeWrote(f) {
		if !strings.HasPrefix(w.Name, "classic") {
			f.Add(w.Payload)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := decodeCluster(payload)
		if err != nil {
			return
		}
		checkPayload(t, p)
		if p.Entry != nil && p.Entry.Kind == Other {
			return
		}
		again, err := encodePayload(p, func(e Entry) ([]byte, error) { return encodeMessage(e.From, e.Message, jsonForm) },
			func(r Request) ([]byte, error) { return encodeRequest(r, jsonForm) },
			func(r Response) ([]byte, error) { return encodeResponse(r, jsonForm) })
		back, backErr := decodeCluster(again)
		if err != nil || backErr != nil || !samePayload(p, back) {
			t.Fatalf("%q is\n%+v, then %q, %v,\n%+v, %v", payload, p.any(), again, err, back.any(), backErr)
		}
		again, err = encodePayload(p, func(e Entry) ([]byte, error) { return encodeMessage(e.From, e.Message, msgpackForm) },
			func(r Request) ([]byte, error) { return encodeRequest(r, msgpackForm) },
			func(r Response) ([]byte, error) { return encodeResponse(r, msgpackForm) })
		if err != nil {
			t.Fatalf("%q is %+v: %v", payload, p.any(), err)
		}
		if _, err := decodeCluster(again); err != nil {
			t.Fatalf("%q is %+v, then %q, %v", payload, p.any(), again, err)
		}
	})
}

func FuzzDecodeClassic(f *testing.F) {
	for _, w := range readNodeWrote(f) {
		f.Add(w.Payload)
	}
	f.Add([]byte(`{"uid":"u","type":2,"sid":"s","room":1e21}`))
	f.Add([]byte(`{"uid":"u","type":0,"requestId":"q","rooms":["r"]}`))
	f.Add([]byte(`{"requestId":"q","sockets":["s"]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if e, err := decodeClassicEvent(payload); err == nil && e.Kind != Other {
			checkMessage(t, e.Message)
			again, err := encodeClassicEvent(e.From, e.Message)
			back, backErr := decodeClassicEvent(again)
			if err != nil || backErr != nil || !reflect.DeepEqual(back, e) {
				t.Fatalf("%q is\n%+v, then %q, %v,\n%+v, %v", payload, e, again, err, back, backErr)
			}
		}
		if p, err := decodeClassicRequest("/x", payload); err == nil && (p.Entry == nil || p.Entry.Kind != Other) {
			checkPayload(t, p)
			again, err := encodePayload(p, func(e Entry) ([]byte, error) { return encodeClassicCommand(e.From, e.Message) }, encodeClassicRequest, nil)
			back, backErr := decodeClassicRequest("/x", again)
			if err != nil || backErr != nil || p.Request != nil && p.Request.Kind == EmitWithAck && len(back.Request.Args) == 0 ||
				(p.Request == nil || p.Request.Kind != EmitWithAck) && !samePayload(p, back) {
				t.Fatalf("%q is\n%+v, then %q, %v,\n%+v, %v", payload, p.any(), again, err, back.any(), backErr)
			}
		}
		if r, err := decodeClassicResponse("/x", payload); err == nil {
			checkPayload(t, wirePayload{Response: &r})
			again, err := encodeClassicResponse(r)
			if err != nil {
				t.Fatalf("%q is %+v: %v", payload, r, err)
			}
			if back, err := decodeClassicResponse("/x", again); err != nil || back.ID != r.ID || back.Kind != r.Kind && len(r.Sockets) > 0 {
				t.Fatalf("%q is\n%+v, then %q,\n%+v, %v", payload, r, again, back, err)
			}
		}
	})
}

func FuzzSession(f *testing.F) {
	for _, w := range readNodeWrote(f) {
		if w.Text != "" {
			f.Add(w.Text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := decodeSession(text)
		if err != nil {
			return
		}
		if s.Data != nil && !json.Valid(s.Data) {
			t.Fatalf("data is %q", s.Data)
		}
		again, err := encodeSession(s)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		if !slices.Contains(s.Rooms, s.ID) {
			s.Rooms = append([]string{s.ID}, s.Rooms...)
		}
		if s.Data == nil {
			s.Data = json.RawMessage("{}")
		}
		if back, err := decodeSession(again); err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%q is\n%+v, then %q,\n%+v, %v", text, s, again, back, err)
		}
	})
}

func encodePayload(p wirePayload, entry func(Entry) ([]byte, error), request func(Request) ([]byte, error), response func(Response) ([]byte, error)) ([]byte, error) {
	switch {
	case p.Entry != nil:
		return entry(*p.Entry)
	case p.Request != nil:
		return request(*p.Request)
	default:
		return response(*p.Response)
	}
}

// samePayload compares what was decoded with what came back: a socket without data or handshake has empty ones then, an
// empty namespace is the main one, and text that was binary is compact.
func samePayload(a, b wirePayload) bool {
	for _, p := range []wirePayload{a, b} {
		switch {
		case p.Entry != nil:
			p.Entry.Namespace = namespace(p.Entry.Namespace)
		case p.Request != nil:
			p.Request.Namespace = namespace(p.Request.Namespace)
		case p.Response != nil:
			p.Response.Namespace = namespace(p.Response.Namespace)
			for i := range p.Response.Sockets {
				s := &p.Response.Sockets[i]
				s.Data, s.Handshake = appendRaw(nil, s.Data, "{}"), appendRaw(nil, s.Handshake, "{}")
			}
		}
	}
	return reflect.DeepEqual(a.any(), b.any())
}

func checkPayload(t *testing.T, p wirePayload) {
	t.Helper()
	switch {
	case p.Entry != nil:
		checkMessage(t, p.Entry.Message)
	case p.Request != nil:
		r := p.Request
		if r.ID == "" && r.Kind != ServerSideEmit {
			t.Fatalf("a request without id: %+v", r)
		}
		if r.Kind == EmitWithAck || r.Kind == ServerSideEmit {
			checkMessage(t, Message{Args: r.Args, Binary: r.Binary})
		}
	case p.Response != nil:
		r := p.Response
		if r.ID == "" {
			t.Fatalf("a response without id: %+v", r)
		}
		raw := []json.RawMessage{r.Args}
		for _, s := range r.Sockets {
			raw = append(raw, s.Data, s.Handshake)
		}
		for _, v := range raw {
			if v != nil && (!json.Valid(v) || !utf8.Valid(v)) {
				t.Fatalf("not JSON: %q", v)
			}
		}
		if r.Binary && !slices.ContainsFunc(raw, func(v json.RawMessage) bool { return bytes.Contains(v, []byte(binaryMark)) }) {
			t.Fatalf("nothing is binary in %+v", r)
		}
	default:
		t.Fatal("neither entry, request nor response")
	}
}
