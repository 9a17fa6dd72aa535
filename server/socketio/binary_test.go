package socketio

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func TestBinaryFromClient(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	c := s.client(t)
	tests := []struct {
		send        string
		attachments []string
		want        string
	}{
		{`51-["b",{"_placeholder":true,"num":0}]`, []string{"\x00\xff"}, `"AP8="`},
		{`51-["b",{"num":0,"x":1,"_placeholder":true}]`, []string{"a"}, `"YQ=="`},
		{`52-["b",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`, []string{"a", "b"}, `"Yg==" "YQ=="`},
		{`51-["b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`, []string{"a"}, `"YQ==" "YQ=="`},
		{`52-["b",{"_placeholder":true,"num":1}]`, []string{"a", ""}, `""`}, // unused ones and empty ones are fine
		{`51-["b",{"a":[1,{"c":{"_placeholder":true,"num":0}}]},2]`, []string{"a"}, `{"a":[1,{"c":"YQ=="}]} 2`},
		{`51-["b",{"_placeholder":false,"num":0}]`, []string{"a"}, `{"_placeholder":false,"num":0}`},
		{`51-["b",{"_placeholder":"true","num":9}]`, []string{"a"}, `{"_placeholder":"true","num":9}`},
		{`51-["b",{"n":12345678901234567890.10}]`, []string{"a"}, `{"n":12345678901234567890.10}`},
		{`5001-["b",{"_placeholder":true,"num":0}]`, []string{"a"}, `"YQ=="`},
		{`510-["b"` + strings.Repeat(`,{"_placeholder":true,"num":9}`, 2) + `]`, strings.Split("0123456789", ""), `"OQ==" "OQ=="`},
		{`51-["b",` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `]`, []string{"a"},
			strings.Repeat("[", 5000) + strings.Repeat("]", 5000)},
	}
	for _, tt := range tests {
		c.send(tt.send)
		for _, a := range tt.attachments {
			c.sendBinary(a)
		}
		c.want(`2["echo","b","` + strings.ReplaceAll(tt.want, `"`, `\"`) + `"]`)
	}
	c.wantNothing()
}

func TestBadBinary(t *testing.T) {
	t.Parallel()
	const hole = `{"_placeholder":true,"num":`
	tests := []struct {
		name        string
		send        string
		attachments string // one for each letter
		after       string // a text packet sent last
	}{
		{"placeholder out of range", `51-["b",` + hole + `1}]`, "a", ""},
		{"placeholder far out of range", `51-["b",` + hole + `1e99}]`, "a", ""},
		{"negative placeholder", `51-["b",` + hole + `-1}]`, "a", ""},
		{"fractional placeholder", `51-["b",` + hole + `0.5}]`, "a", ""},
		{"placeholder that is text", `51-["b",` + hole + `"0"}]`, "a", ""},
		{"placeholder that is null", `51-["b",` + hole + `null}]`, "a", ""},
		{"placeholder without num", `51-["b",{"_placeholder":true}]`, "a", ""},
		{"placeholder for a name", `51-[` + hole + `0}]`, "", ""},
		{"reserved name", `51-["disconnect",` + hole + `0}]`, "", ""},
		{"more than were announced", `51-["b"]`, "ab", ""},
		{"not announced", `2["b"]`, "a", ""},
		{"fewer than announced", `52-["b"]`, "a", `2["b"]`},
		{"text while attachments are due", `51-["b"]`, "", `2["b"]`},
		{"CONNECT while attachments are due", `51-["b"]`, "", `0/chat,`},
		{"too many", `511-["b"]`, "", ""},
		{"far too many", `5999999999-["b"]`, "", ""},
		{"more than fit an int", `599999999999999999999-["b"]`, "", ""},
		{"a thousand digits", `5` + strings.Repeat("0", 1000) + `1-["b"]`, "", ""},
		{"none", `50-["b"]`, "", ""},
		{"minus one", `5-1-["b"]`, "", ""},
		{"plus one", `5+1-["b"]`, "", ""},
		{"fractional", `51.5-["b"]`, "", ""},
		{"hexadecimal", `50x1-["b"]`, "", ""},
		{"no number", `5-["b"]`, "", ""},
		{"no dash", `51["b"]`, "", ""},
		{"only the head", `5999999999-`, "", ""},
		{"only the type", `5`, "", ""},
		{"no payload", `51-`, "", ""},
		{"ack without id", `61-[]`, "a", ""},
		{"ack with too many", `6999999999-1[]`, "", ""},
		{"for a namespace not joined", `51-/chat,["b"]`, "a", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := newJournal()
			s := serve(t, Options{}, func(s *Server) {
				s.Of("/chat").OnConnect(func(context.Context, *Socket) { j.note("connected") })
				s.Of("/").OnAny(func(_ context.Context, _ *Socket, e *Event) { j.note(e.Name) })
			})
			c := s.client(t)
			c.send(tt.send)
			for _, a := range tt.attachments {
				c.sendBinary(string(a))
			}
			if tt.after != "" {
				c.send(tt.after)
			}
			c.wantClosed()
			if tt.attachments == "ab" || tt.name == "not announced" {
				j.want(t, "b") // what came before was fine
			}
			j.wantNothing(t)
		})
	}
}

func TestMaxAttachments(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxAttachments: 2}, echo)
	c := s.client(t)
	c.send(`52-["b"]`)
	c.sendBinary("a")
	c.sendBinary("b")
	c.want(`2["echo","b",""]`)
	c.send(`53-["b"]`)
	c.wantClosed()
}

func TestBinaryToClient(t *testing.T) {
	t.Parallel()
	type file struct {
		Name string `json:"name"`
		Data Binary `json:"data"`
	}
	sockets := make(chan *Socket, 1)
	c := serve(t, Options{}, func(s *Server) {
		asker(sockets)(s)
		s.Of("/").On("ack", func(_ context.Context, _ *Socket, e *Event) { _ = e.Ack(1, Binary("z")) })
	}).client(t)
	s := <-sockets
	const hole = `{"_placeholder":true,"num":`
	tests := []struct {
		args []any
		want []string
	}{
		{[]any{Binary("a")}, []string{`51-["b",` + hole + `0}]`, "binary:a"}},
		{[]any{Binary(nil), "x"}, []string{`51-["b",` + hole + `0},"x"]`, "binary:"}},
		{[]any{[]Binary{Binary("a"), Binary("b")}, file{"n", Binary("c")}},
			[]string{`53-["b",[` + hole + `0},` + hole + `1}],{"name":"n","data":` + hole + `2}}]`, "binary:a", "binary:b", "binary:c"}},
		{[]any{map[string]any{"z": []any{1, map[string]any{"y": Binary("\x00\xff")}}}},
			[]string{`51-["b",{"z":[1,{"y":` + hole + `0}}]}]`, "binary:\x00\xff"}},
		{[]any{[]byte("a")}, []string{`2["b","YQ=="]`}},
		{[]any{binaryMark + `YQ=="}`}, []string{`2["b","{\"_placeholder\":true,\"num\":-1,\"base64\":\"YQ==\"}"]`}},
		{[]any{rawJSON(binaryMark + `?"}`)}, []string{`2["b",` + binaryMark + `?"}]`}},
		{[]any{Binary(strings.Repeat("x", 100_000))}, []string{`51-["b",` + hole + `0}]`, "binary:" + strings.Repeat("x", 100_000)}},
	}
	for _, tt := range tests {
		if err := s.Emit("b", tt.args...); err != nil {
			t.Fatal(err)
		}
		c.want(tt.want...)
	}
	_ = s.Namespace().Emit("b", Binary("a"))
	c.want(`51-["b",`+hole+`0}]`, "binary:a")
	c.send(`27["ack"]`)
	c.want(`61-7[1,`+hole+`0}]`, "binary:z")

	got := ask(context.Background(), s, "q", Binary("a"))
	c.want(`51-0["q",`+hole+`0}]`, "binary:a")
	c.send(`62-0[` + hole + `1},"x"]`)
	c.sendBinary("a")
	c.sendBinary("b")
	(<-got).want(t, `"Yg==" "x"`, nil)
	c.wantNothing()
}

// A []byte and a Binary both take what came as an attachment.
func TestBinaryRoundTrip(t *testing.T) {
	t.Parallel()
	type file struct {
		Name string   `json:"name"`
		Data Binary   `json:"data"`
		More [][]byte `json:"more"`
	}
	s := serve(t, Options{}, func(s *Server) {
		s.Of("/").On("file", func(_ context.Context, s *Socket, e *Event) {
			var f file
			if err := e.Decode(&f); err != nil {
				t.Error(err)
			}
			_ = e.Ack(fmt.Sprintf("%s %s %s", f.Name, f.Data, f.More), f.Data)
		})
	})
	c := s.client(t)
	c.send(`53-1["file",{"name":"n","data":{"_placeholder":true,"num":2},` +
		`"more":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}]`)
	c.sendBinary("a")
	c.sendBinary("b")
	c.sendBinary("c")
	c.want(`61-1["n c [a b]",{"_placeholder":true,"num":0}]`, "binary:c")
}

// Binary that comes while another packet's attachments are written must not get between them.
func TestBinaryStaysTogether(t *testing.T) {
	t.Parallel()
	const emits = 200
	sockets := make(chan *Socket, 1)
	c := serve(t, Options{}, asker(sockets)).client(t)
	s := <-sockets
	for _, event := range []string{"a", "b", "c"} {
		go func() {
			for range emits {
				_ = s.Emit(event, Binary(event+"1"), Binary(event+"2"))
				_ = s.Emit(event)
			}
		}()
	}
	binaries, texts := 0, 0
	for range 3 * 2 * emits {
		packet := c.next()
		if name, ok := strings.CutPrefix(packet, `52-["`); ok {
			binaries++
			c.want("binary:"+name[:1]+"1", "binary:"+name[:1]+"2")
		} else {
			texts++
		}
	}
	if binaries != 3*emits || texts != 3*emits {
		t.Errorf("got %d binary and %d other events, want %d each", binaries, texts, 3*emits)
	}
}
