package adapter

import (
	"testing"
	"time"
)

// Who changes a table is told of it at once, and does not wait for the next look.
func TestWatchTablesSeesItsOwnChangesAtOnce(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	table := r.Store("").Table(TableConfig{Name: "t"})
	var seen told
	watch(t, r, time.Hour, map[*Table]func([]Row){table: seen.tell})
	seen.want(t, "")
	must(t, table.Put(t.Context(), "x", []byte("1"), time.Time{}))
	seen.want(t, "x=1")
	must(t, table.Replace(t.Context(), []Row{{ID: "y", Value: []byte("2")}}))
	seen.want(t, "y=2")
	if _, err := table.Delete(t.Context(), "y"); err != nil {
		t.Error(err)
	}
	seen.want(t, "")
}
