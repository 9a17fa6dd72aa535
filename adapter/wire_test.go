package adapter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// packed is MessagePack of JSON text, in base64 as in an entry.
func packed(t testing.TB, text string) string {
	t.Helper()
	b, err := jsonToMsgpack(nil, text, true)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

const noOpts = `"opts":{"rooms":[],"except":[],"flags":{}}`

func TestDecodeEntry(t *testing.T) {
	event := func(args string) Message { return Message{Namespace: "/", Args: []byte(args)} }
	other := Message{Kind: Other, Namespace: "/"}
	for _, c := range []struct {
		name, typ, data string
		want            Message
	}{
		{"event", "3", `{"packet":{"type":2,"data":["a",1,{"b":[2]}],"nsp":"/x"},` + noOpts + `}`, event(`"a",1,{"b":[2]}`)},
		{"old binary event", "3", `{"packet":{"type":5,"data":["a"]},` + noOpts + `}`, event(`"a"`)},
		{"a number as name", "3", `{"packet":{"type":2,"data":[5]},` + noOpts + `}`, event(`5`)},
		{"white space", "3", "{ \"opts\" : { } ,\n\"packet\":{\"data\":[ \"a\" , 1\t],\"type\": 2 } } ", event("\"a\" , 1")},
		{"nothing but rooms", "3", `{"packet":{"type":2,"data":["a"]},"opts":{"rooms":["r"],"except":null,"flags":null}}`,
			Message{Namespace: "/", Args: []byte(`"a"`), Rooms: []string{"r"}}},
		{"rooms that are numbers", "3", `{"packet":{"type":2,"data":["a"]},"opts":{"rooms":[5,-1,1.50,1e21,-0,12345678901234567890],"except":["\u00e9\n"]}}`,
			Message{Namespace: "/", Args: []byte(`"a"`), Rooms: []string{"5", "-1", "1.5", "1e+21", "0", "12345678901234567000"}, Except: []string{"é\n"}}},
		{"volatile", "3", `{"packet":{"type":2,"data":["a"]},"opts":{"flags":{"volatile":true,"compress":false}}}`,
			Message{Namespace: "/", Args: []byte(`"a"`), Volatile: true}},
		{"not volatile", "3", `{"packet":{"type":2,"data":["a"]},"opts":{"flags":{"volatile":1}}}`, event(`"a"`)},
		{"the last of two counts", "3", `{"packet":{"type":2,"data":["a"],"data":["b"]},"opts":{"rooms":["r"]},` + noOpts + `}`, event(`"b"`)},
		{"escaped names", "3", `{"p\u0061cket":{"type":2,"data":["a"]},"opts":{"rooms":["r"]}}`,
			Message{Namespace: "/", Args: []byte(`"a"`), Rooms: []string{"r"}}},
		{"not UTF-8", "3", "{\"packet\":{\"type\":2,\"data\":[\"a\xff\"]}," + noOpts + "}", event("\"a\ufffd\"")},
		{"what looks binary and is not", "3", `{"packet":{"type":2,"data":["a",` + string(standIn("AQ==")) + `]},` + noOpts + `}`,
			event(`"a",` + string(standIn("AQ==")))},
		{"binary", "3", packed(t, `{"packet":{"type":2,"data":["a",`+string(standIn("AQ=="))+`]},`+noOpts+`}`),
			Message{Namespace: "/", Args: slices.Concat([]byte(`"a",`), standIn("AQ==")), Binary: true}},
		{"MessagePack without anything binary", "3", packed(t, `{"packet":{"type":2,"data":["a", 1.0]},`+noOpts+`}`), event(`"a",1`)},
		{"base64 without padding", "3", strings.TrimRight(packed(t, `{"packet":{"type":2,"data":["ab"]},`+noOpts+`}`), "="), event(`"ab"`)},
		{"an ack for a client", "3", `{"packet":{"type":2,"data":["a"],"id":0},` + noOpts + `}`, other},
		{"an ack for a server", "3", `{"packet":{"type":2,"data":["a"]},"requestId":"x",` + noOpts + `}`, other},
		{"an id that is null", "3", `{"packet":{"type":2,"data":["a"],"id":null},"requestId":null,` + noOpts + `}`, event(`"a"`)},
		{"join", "4", `{"opts":{"rooms":["a"],"except":["b"]},"rooms":["c",1]}`,
			Message{Kind: Join, Namespace: "/", Rooms: []string{"a"}, Except: []string{"b"}, Into: []string{"c", "1"}}},
		{"leave", "5", `{"opts":{"rooms":[],"except":[]},"rooms":[]}`, Message{Kind: Leave, Namespace: "/"}},
		{"disconnect", "6", `{"opts":{},"close":true}`, Message{Kind: Disconnect, Namespace: "/", Close: true}},
		{"disconnect without close", "6", `{"opts":{}}`, Message{Kind: Disconnect, Namespace: "/"}},
		{"heartbeat", "2", ``, other}, {"first heartbeat", "1", ``, other}, {"adapter close", "13", ``, other},
		{"a type of the future", "14", `[`, other}, {"no type", "", ``, other}, {"a type that is no number", "3a", ``, other},
		{"a request", "7", `{"opts":{},"requestId":"x"}`, other},
	} {
		got, err := decodeEntry("n1", "/", c.typ, c.data)
		if want := (Entry{From: "n1", Message: c.want}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, %v, want\n%+v", c.name, got, err, want)
		}
	}
	if got, err := decodeEntry("n1", "", "3", "not ours"); err != nil || got.Kind != Other {
		t.Errorf("an entry without namespace is %+v, %v, want Other", got, err)
	}
}

func TestDecodeEntryRefuses(t *testing.T) {
	reserved := func(name string) string { return `{"packet":{"type":2,"data":["` + name + `"]},` + noOpts + `}` }
	ok := `{"packet":{"type":2,"data":["a"]},` + noOpts + `}`
	for _, c := range []struct{ typ, data string }{
		{"3", ``}, {"3", `{`}, {"3", ok + ` x`}, {"3", ok + ok}, {"3", `[]`}, {"3", `{}`}, {"3", "?"}, {"3", "AA"}, {"3", packed(t, "[]")},
		{"3", packed(t, ok) + "AA"}, {"3", base64.StdEncoding.EncodeToString(append(unhex(t, "80"), 0))},
		{"3", `{"packet":{"type":2,"data":["a"]}}`}, {"3", `{"packet":{"type":2,"data":["a"]},"opts":[]}`}, {"3", `{"packet":{"type":2,"data":["a"]},"opts":null}`},
		{"3", `{` + noOpts + `}`}, {"3", `{"packet":[],` + noOpts + `}`}, {"3", `{"packet":{"type":2,"data":{"0":"a"}},` + noOpts + `}`},
		{"3", `{"packet":{"type":2,"data":"a"},` + noOpts + `}`}, {"3", `{"packet":{"type":2},` + noOpts + `}`},
		{"3", `{"packet":{"type":2,"data":[]},` + noOpts + `}`}, {"3", `{"packet":{"type":2,"data":[null]},` + noOpts + `}`},
		{"3", `{"packet":{"type":2,"data":[true]},` + noOpts + `}`}, {"3", `{"packet":{"type":2,"data":[["a"]]},` + noOpts + `}`},
		{"3", `{"packet":{"type":3,"data":["a"]},` + noOpts + `}`}, {"3", `{"packet":{"type":"2","data":["a"]},` + noOpts + `}`},
		{"3", `{"packet":{"data":["a"]},` + noOpts + `}`}, {"3", `{"packet":{"type":1},` + noOpts + `}`},
		{"3", `{"packet":{"type":2,"data":["a"],"nsp":5},` + noOpts + `}`},
		{"3", reserved("connect")}, {"3", reserved("connect_error")}, {"3", reserved("disconnect")}, {"3", reserved("disconnecting")},
		{"3", reserved("newListener")}, {"3", reserved("removeListener")}, {"3", reserved(`conn\u0065ct`)},
		{"3", `{"packet":{"type":2,"data":["a"]},"opts":{"rooms":"r"}}`}, {"3", `{"packet":{"type":2,"data":["a"]},"opts":{"rooms":[null]}}`},
		{"3", `{"packet":{"type":2,"data":["a"]},"opts":{"rooms":["r",["x"]]}}`}, {"3", `{"packet":{"type":2,"data":["a"]},"opts":{"rooms":{},"except":[]}}`},
		{"3", `{"packet":{"type":2,"data":["a"]},"opts":{"except":[true]}}`}, {"3", `{"packet":{"type":2,"data":["a"]},"opts":{"except":5}}`},
		{"3", `{"packet":{"type":2,"data":["a",01]},` + noOpts + `}`}, {"3", "{\"packet\":{\"type\":2,\"data\":[\"a\n\"]}," + noOpts + "}"},
		{"3", `{"packet":{"type":2,"data":["a",` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `]},` + noOpts + `}`},
		{"4", ``}, {"4", `{"rooms":["a"]}`}, {"4", `{"opts":{}}`}, {"4", `{"opts":{},"rooms":"a"}`}, {"4", `{"opts":{},"rooms":[{}]}`}, {"5", `{"opts":{},"rooms":null}`},
		{"6", `{}`}, {"6", `{"opts":{},"close":1}`}, {"6", `{"opts":{},"close":"true"}`}, {"6", `{"opts":{},"close":[]}`}, {"6", `{"opts":{},"close":{}}`},
	} {
		if got, err := decodeEntry("n1", "/", c.typ, c.data); !errors.Is(err, errWire) || got.Kind != Other {
			t.Errorf("type %s, %.80s: got %+v, %v, want an error", c.typ, c.data, got, err)
		}
	}
}

func TestAppendData(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{Args: []byte(`"a",{"b":1}`)}, `{"packet":{"type":2,"data":["a",{"b":1}]},"opts":{"rooms":[],"except":[],"flags":{}}}`},
		{Message{Args: []byte(`"a"`), Rooms: []string{"r\"", "é\x01"}, Except: []string{"\xff"}, Volatile: true},
			`{"packet":{"type":2,"data":["a"]},"opts":{"rooms":["r\"","é\u0001"],"except":["` + "\ufffd" + `"],"flags":{"volatile":true}}}`},
		{Message{Kind: Join, Rooms: []string{"r"}, Into: []string{"a", "b"}, Binary: true}, `{"opts":{"rooms":["r"],"except":[],"flags":{}},"rooms":["a","b"]}`},
		{Message{Kind: Leave, Into: []string{"a"}, Volatile: true}, `{"opts":{"rooms":[],"except":[],"flags":{}},"rooms":["a"]}`},
		{Message{Kind: Disconnect, Close: true}, `{"opts":{"rooms":[],"except":[],"flags":{}},"close":true}`},
		{Message{}, ""}, {Message{Kind: Other}, ""}, {Message{Args: []byte(`"a`), Binary: true}, ""},
	} {
		got, err := appendData([]byte("before"), c.m)
		if c.want == "" {
			if !errors.Is(err, errWire) {
				t.Errorf("%+v is %s, %v, want an error", c.m, got, err)
			}
			continue
		}
		if err != nil || string(got) != "before"+c.want {
			t.Errorf("%+v is\n%s, %v, want\n%s", c.m, got, err, c.want)
		}
	}
}

// A decoded message must not hold on to what it came in, nor share its memory.
func TestDecodedIsOurs(t *testing.T) {
	payload := []byte(`{"type":3,"data":{"packet":{"type":2,"data":["a"]},"opts":{"rooms":["r1"],"except":["r2"]}},"uid":"u","nsp":"/"}`)
	got, err := decodeCluster(payload)
	if err != nil {
		t.Fatal(err)
	}
	for i := range payload {
		payload[i] = 'x'
	}
	want := Entry{From: "u", Message: Message{Namespace: "/", Rooms: []string{"r1"}, Except: []string{"r2"}, Args: []byte(`"a"`)}}
	if !reflect.DeepEqual(*got.Entry, want) {
		t.Errorf("got %+v, want %+v", *got.Entry, want)
	}
}

// Whatever is in a stream, decoding does not panic; what is taken is JSON for browsers, and comes out the same after
// it is encoded and decoded again.
func FuzzDecodeEntry(f *testing.F) {
	for _, w := range readNodeWrote(f) {
		if w.Fields != nil {
			f.Add(w.Fields.NSP, w.Fields.Type, w.Fields.Data)
		}
	}
	f.Add("/", "3", `{"packet":{"type":2,"data":[ "a\ud800", 1e400 ],"nsp":"/x"},"opts":{"rooms":[1e21,"\u0000"],"except":null,"flags":{"volatile":true}}}`)
	f.Add("/x", "4", packed(f, `{"opts":{"rooms":["r"]},"rooms":[1.5]}`))
	f.Fuzz(func(t *testing.T, nsp, typ, data string) {
		e, err := decodeEntry("n1", nsp, typ, data)
		if err != nil || e.Kind == Other {
			if len(e.Args)+len(e.Rooms)+len(e.Into) > 0 || e.Kind != Other {
				t.Fatalf("refused, but %+v", e)
			}
			return
		}
		checkMessage(t, e.Message)
		again, err := appendData(nil, e.Message)
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		back, err := decodeEntry("n1", nsp, entryType(e.Kind), string(again))
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%q is\n%+v, then %q,\n%+v, %v", data, e, again, back, err)
		}
	})
}

// checkMessage wants in m what others rely on.
func checkMessage(t *testing.T, m Message) {
	t.Helper()
	if m.Kind == Event {
		array := appendList(nil, m.Args)
		if !json.Valid(array) || !utf8.Valid(array) || len(m.Args) == 0 || len(bytes.TrimSpace(m.Args)) != len(m.Args) {
			t.Fatalf("args are %q", m.Args)
		}
	}
	if m.Binary && !bytes.Contains(m.Args, []byte(binaryMark)) {
		t.Fatalf("nothing is binary in %q", m.Args)
	}
	for _, room := range slices.Concat(m.Rooms, m.Except, m.Into) {
		if !utf8.ValidString(room) {
			t.Fatalf("a room is %q", room)
		}
	}
}

// benchmarkMessage is like what the service sends: an event of 600 bytes to one room.
func benchmarkMessage() Message {
	args := `"processing.event",{"id":"5f1c2d9a-6f0e-4f3a-9d2e-0a4f6f1b2c3d","type":"photo.processing.stage.completed","data":{"photoId":"p-123456","clientId":"c-42",` +
		`"stage":"thumbnail","progress":0.625,"sizes":[64,128,256,512],"note":"` + strings.Repeat("lorem ipsum ", 18) + `"},"metadata":{"source":"worker-7","traceId":` +
		`"4bf92f3577b34da6a3ce929d0e0e4736","version":"1.0"},"timestamp":"2026-11-23T10:00:00.000Z"}`
	return Message{Args: []byte(args), Rooms: []string{"photo:p-123456"}}
}

func BenchmarkAppendData(b *testing.B) {
	m := benchmarkMessage()
	dst := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = appendData(dst[:0], m)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkDecodeEntry(b *testing.B) {
	data, err := appendData(nil, benchmarkMessage())
	if err != nil {
		b.Fatal(err)
	}
	text := string(data)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeEntry("n1", "/", "3", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEntryBinary(b *testing.B) {
	m := benchmarkMessage()
	m.Args, m.Binary = slices.Concat(m.Args, []byte{','}, standIn("AAH+/w==")), true
	data, err := appendData(nil, m)
	if err != nil {
		b.Fatal(err)
	}
	text := string(data)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeEntry("n1", "/", "3", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClassicEvent(b *testing.B) {
	m := benchmarkMessage()
	b.ReportAllocs()
	for b.Loop() {
		payload, err := encodeClassicEvent("n1", m)
		if err == nil {
			_, err = decodeClassicEvent(payload)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
