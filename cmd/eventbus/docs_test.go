package main

import (
	"flag"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// The operators' page has every setting and every metric, and no other.
func TestOperatorsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operators.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	var cfg config
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	cfg.flags(fs)
	fs.VisitAll(func(f *flag.Flag) {
		if f.Name != "dev" { // a way to run it, no setting of an operator's
			want["| `"+envName(f.Name)+"` |"] = true
		}
	})

	embedded, err := adapter.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close()
	redis, err := adapter.DialRedis(t.Context(), adapter.RedisConfig{URL: "redis://" + embedded.Addr()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	registry := &names{}
	cfg.jwt.Secret = []byte(strings.Repeat("s", 32))
	if _, _, err := newServer(t.Context(), cfg, redis, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, registry, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	for _, name := range registry.all {
		want["| `"+name+"` |"] = true
	}

	rows := regexp.MustCompile("(?m)^\\| `(?:[A-Z_]+|eventbus_[a-z_]+)` \\|").FindAllString(string(page), -1)
	got := map[string]bool{}
	for _, row := range rows {
		got[row] = true
		if !want[row] {
			t.Errorf("the page has %s, which is not there", row)
		}
	}
	for row := range want {
		if !got[row] {
			t.Errorf("the page lacks %s", row)
		}
	}
}

// names is a registry that remembers the names of metrics, those without values too.
type names struct{ all []string }

var metricName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (n *names) Register(c prometheus.Collector) error {
	described := make(chan *prometheus.Desc, 10)
	c.Describe(described)
	close(described)
	for d := range described {
		n.all = append(n.all, metricName.FindStringSubmatch(d.String())[1])
	}
	return nil
}

func (n *names) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = n.Register(c)
	}
}

func (*names) Unregister(prometheus.Collector) bool { return false }
