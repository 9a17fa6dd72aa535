package adapter

import (
	"slices"
	"strings"
	"testing"
)

func TestQuestion(t *testing.T) {
	t.Parallel()
	count := func(from string, n int) Response { return Response{Kind: EmitWithAck, From: from, Count: n} }
	ack := func(from string) Response {
		return Response{Kind: EmitWithAck, From: from, Count: -1, Args: []byte("1")}
	}
	sockets := func(from string, ids ...string) Response {
		r := Response{Kind: FetchSockets, From: from}
		for _, id := range ids {
			r.Sockets = append(r.Sockets, RemoteSocket{ID: id})
		}
		return r
	}
	ids := Response{Kind: ListSockets, Sockets: []RemoteSocket{{ID: "x"}}}
	for name, test := range map[string]struct {
		kind    RequestKind
		answers []Response
		refused int
		want    int // complete
	}{
		"nothing":                          {FetchSockets, nil, 0, 0},
		"two servers":                      {FetchSockets, []Response{sockets("a", "x"), sockets("b")}, 0, 2},
		"one that repeats itself":          {FetchSockets, []Response{sockets("a", "x"), sockets("a", "x")}, 1, 1},
		"two without names":                {FetchSockets, []Response{sockets("", "x"), sockets("", "y")}, 0, 2},
		"of another kind":                  {FetchSockets, []Response{count("a", 0), {Kind: ServerSideEmit}, ids}, 3, 0},
		"ids":                              {ListSockets, []Response{ids, sockets("")}, 0, 2},
		"sockets for ids":                  {ListSockets, []Response{sockets("", "x")}, 1, 0},
		"no acks":                          {EmitWithAck, []Response{count("a", 0)}, 0, 1},
		"acks to come":                     {EmitWithAck, []Response{count("a", 2), ack("a")}, 0, 0},
		"all acks":                         {EmitWithAck, []Response{count("a", 2), ack("a"), ack("a")}, 0, 1},
		"acks before their number":         {EmitWithAck, []Response{ack("a"), ack("a")}, 0, 0},
		"a number twice":                   {EmitWithAck, []Response{count("a", 1), count("a", 5), ack("a")}, 1, 1},
		"acks of one for the other":        {EmitWithAck, []Response{count("a", 1), count("b", 1), ack("a"), ack("a")}, 0, 1},
		"without names, all":               {EmitWithAck, []Response{count("", 1), count("", 1), ack(""), ack("")}, 0, 2},
		"without names, one may be behind": {EmitWithAck, []Response{count("", 1), count("", 1), ack("")}, 0, 1},
	} {
		q := &question{kind: test.kind, more: make(chan struct{}, 1), servers: map[string]*answered{}}
		refused := 0
		for _, r := range test.answers {
			if !q.add(r) {
				refused++
			}
		}
		if refused != test.refused || q.complete() != test.want || len(q.take()) != len(test.answers)-refused || len(q.take()) != 0 {
			t.Errorf("%s: %d refused, %d complete; want %d, %d", name, refused, q.complete(), test.refused, test.want)
		}
	}
}

func TestPartial(t *testing.T) {
	t.Parallel()
	a := &asking{id: "me", named: func() []Replica {
		return []Replica{{ID: "me", Name: "Me"}, {ID: "b", Name: "B"}, {ID: "c"}, {ID: "d", Name: "D"}}
	}}
	for name, test := range map[string]struct {
		answered []string
		others   int
		want     []string
	}{
		"nobody":                 {nil, 3, []string{"B", "D", "c"}},
		"one of Node's, too":     {nil, 4, []string{"1 of unknown name", "B", "D", "c"}},
		"some":                   {[]string{"b"}, 3, []string{"D", "c"}},
		"one is dead":            {[]string{"b", "c"}, 3, []string{"D"}},
		"answers without a name": {[]string{""}, 3, []string{"2 of unknown name"}},
		"all":                    {[]string{"b", "c", "d"}, 3, nil},
	} {
		q := &question{more: make(chan struct{}, 1), servers: map[string]*answered{}}
		for _, id := range test.answered {
			q.add(Response{From: id})
		}
		var got []string
		if err := a.partial(q, test.others); err != nil {
			got = err.(*PartialError).Missing
			slices.Sort(got)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// Answers are queued from under locks: too many are counted, not waited for.
func TestAnswersThatNobodySends(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	p := NewPeers(r, PeersConfig{ID: strings.Repeat("a", 16)}, nil)
	for range maxOutgoing + 3 {
		p.respond(Request{Kind: FetchSockets, ID: "1", From: "b"}, Response{})
	}
	p.respond(Request{Kind: ListRooms, ID: "1", From: "b"}, Response{}) // which cluster adapters do not have
	if p.Dropped() != 3 || p.Invalid() != 1 {
		t.Errorf("%d dropped, %d invalid; want 3, 1", p.Dropped(), p.Invalid())
	}
}
