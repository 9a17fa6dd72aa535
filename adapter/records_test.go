package adapter

import (
	"fmt"
	"testing"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	store := r.Store("")
	records, key := store.Records("audit", 100), store.Key("audit")
	var all [][]byte
	for i := range 500 {
		all = append(all, fmt.Appendf(nil, `{"n":%d}`, i))
	}
	for len(all) > 0 {
		if err := records.Append(t.Context(), all[:50]); err != nil {
			t.Fatal(err)
		}
		all = all[50:]
	}
	got, err := r.client.XRevRangeN(t.Context(), key, "+", "-", 2).Result()
	if err != nil || len(got) != 2 || got[0].Values["record"] != `{"n":499}` || got[1].Values["record"] != `{"n":498}` {
		t.Errorf("got %v, %v, want the last two records, newest first", got, err)
	}
	if n, err := r.client.XLen(t.Context(), key).Result(); err != nil || n > 250 {
		t.Errorf("%d records, %v: want about 100", n, err)
	}
	r.client.Set(t.Context(), store.Key("taken"), "by a text", 0)
	if err := store.Records("taken", 100).Append(t.Context(), [][]byte{[]byte("{}")}); err == nil {
		t.Error("no error where the key is no stream")
	}
}
