package auth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func proxies(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	p, err := ParseProxies(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	trusted := proxies(t, "10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1")
	type headers = http.Header
	xff := func(lines ...string) headers { return headers{"X-Forwarded-For": lines} }
	forwarded := func(lines ...string) headers { return headers{"Forwarded": lines} }
	both := func(x, f string) headers { return headers{"X-Forwarded-For": {x}, "Forwarded": {f}} }
	for _, tt := range []struct {
		name, peer string
		h          headers
		want       string
	}{
		{"direct", "203.0.113.7:4711", nil, "203.0.113.7"},
		{"direct, v6", "[2001:db8:2::1]:4711", nil, "2001:db8:2::1"},
		{"direct, v4 in v6", "[::ffff:203.0.113.7]:4711", nil, "203.0.113.7"},
		{"direct, zone", "[fe80::1%eth0]:4711", nil, "fe80::1"},
		{"a stranger's word", "203.0.113.7:4711", both("198.51.100.1", "for=198.51.100.1"), "203.0.113.7"},
		{"proxy says nothing", "10.0.0.1:4711", nil, "10.0.0.1"},
		{"proxy", "10.0.0.1:4711", xff("198.51.100.1"), "198.51.100.1"},
		{"proxy, single address trusted", "192.0.2.1:4711", xff("198.51.100.1"), "198.51.100.1"},
		{"proxy, v4 in v6", "[::ffff:10.0.0.1]:4711", xff("198.51.100.1"), "198.51.100.1"},
		{"proxy, v6", "[2001:db8:1::9]:4711", xff("2001:db8:2::1"), "2001:db8:2::1"},
		{"port", "10.0.0.1:4711", xff("198.51.100.1:80"), "198.51.100.1"},
		{"v6 in brackets", "10.0.0.1:4711", xff("[2001:db8:2::1]"), "2001:db8:2::1"},
		{"v6 and port", "10.0.0.1:4711", xff("[2001:db8:2::1]:80"), "2001:db8:2::1"},
		{"what the client made up", "10.0.0.1:4711", xff("1.2.3.4, 5.6.7.8,198.51.100.1"), "198.51.100.1"},
		{"what the client made up, trusted", "10.0.0.1:4711", xff("10.9.9.9, 198.51.100.1"), "198.51.100.1"},
		{"two proxies", "10.0.0.1:4711", xff("1.2.3.4, 198.51.100.1, 10.0.0.2"), "198.51.100.1"},
		{"two lines", "10.0.0.1:4711", xff("1.2.3.4, 198.51.100.1", " 10.0.0.2 "), "198.51.100.1"},
		{"proxies alone", "10.0.0.1:4711", xff("10.0.0.3, 10.0.0.2"), "10.0.0.3"},
		{"no address", "10.0.0.1:4711", xff("198.51.100.1, unknown, 10.0.0.2"), "10.0.0.2"},
		{"empty", "10.0.0.1:4711", xff(""), "10.0.0.1"},
		{"empty entry", "10.0.0.1:4711", xff("198.51.100.1,"), "10.0.0.1"},
		{"too many", "10.0.0.1:4711", xff("198.51.100.1" + strings.Repeat(",10.0.0.2", maxHops)), "10.0.0.2"},
		{"long", "10.0.0.1:4711", xff(strings.Repeat("1", 1<<20)), "10.0.0.1"},
		{"Forwarded", "10.0.0.1:4711", forwarded("for=198.51.100.1"), "198.51.100.1"},
		{"Forwarded, all of it", "10.0.0.1:4711", forwarded(`for=1.2.3.4, proto=https; FOR="198.51.100.1:80" ;by=10.0.0.1`), "198.51.100.1"},
		{"Forwarded, v6", "10.0.0.1:4711", forwarded(`for="[2001:db8:2::1]:4711"`), "2001:db8:2::1"},
		{"Forwarded, two proxies", "10.0.0.1:4711", forwarded("for=198.51.100.1, for=10.0.0.2"), "198.51.100.1"},
		{"Forwarded, open quote", "10.0.0.1:4711", forwarded(`for="1.2.3.4, for=198.51.100.1`), "198.51.100.1"},
		{"Forwarded, hidden", "10.0.0.1:4711", forwarded("for=_gazonk"), "10.0.0.1"},
		{"Forwarded, without for", "10.0.0.1:4711", forwarded("proto=https"), "10.0.0.1"},
		{"both agree", "10.0.0.1:4711", both("198.51.100.1", "for=198.51.100.1"), "198.51.100.1"},
		{"both, of which the client made up one", "10.0.0.1:4711", both("198.51.100.1", "for=1.2.3.4"), "10.0.0.1"},
		{"no address at all", "@", nil, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: tt.h}
		if got := ClientIP(r, trusted); got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := ClientAddr("10.0.0.1:1", xff("198.51.100.1"), nil); got.String() != "10.0.0.1" {
		t.Errorf("nobody trusted: got %s", got)
	}
}

func TestParseProxies(t *testing.T) {
	t.Parallel()
	got := proxies(t, "10.1.2.3/8", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.0/120")
	for i, want := range []string{"10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128", "192.0.2.0/24"} {
		if got[i].String() != want {
			t.Errorf("got %s, want %s", got[i], want)
		}
	}
	for _, bad := range []string{"", "x", "10.0.0.0/33", "0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96", "fe80::1%eth0", "10.0.0.1:80", strings.Repeat("x", 9999)} {
		if _, err := ParseProxies([]string{"10.0.0.1", bad}); err == nil || !strings.Contains(err.Error(), "server.trustedProxies") || len(err.Error()) > 300 {
			t.Errorf("%.80q: got %v", bad, err)
		}
	}
	if _, err := ParseProxies(make([]string, maxProxies+1)); err == nil {
		t.Error("too many: no error")
	}
}

func TestAddrKey(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"203.0.113.7":           "203.0.113.7",
		"::ffff:203.0.113.7":    "203.0.113.7",
		"2001:db8:2:3:4:5:6:7":  "2001:db8:2:3::/64",
		"fe80::1%eth0":          "fe80::/64",
		"2001:db8:2:3:ffff::":   "2001:db8:2:3::/64",
		"2001:db8:2:4:4:5:6:10": "2001:db8:2:4::/64",
	} {
		if got := AddrKey(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if got := AddrKey(netip.Addr{}); got != "invalid IP" {
		t.Errorf("no address: got %s", got)
	}
}

// FuzzClientAddr: whatever a client writes, it does not pass for somebody whom the proxy has not named.
func FuzzClientAddr(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.9")
	f.Add(`for="[::1]:1";by=x, for=10.0.0.2`)
	f.Add(`",`)
	trusted := proxies(f, "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, made string) {
		for name, entry := range map[string]string{"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.1"} {
			for _, lines := range [][]string{{made + ", " + entry}, {made, entry}} {
				if got := ClientAddr("10.0.0.1:1", http.Header{name: lines}, trusted); got.String() != "198.51.100.1" {
					t.Fatalf("%s: %q: got %s", name, lines, got)
				}
			}
		}
	})
}
