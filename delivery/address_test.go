package delivery

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	allowed := prefixes("10.1.0.0/16", "fd12::/16", "169.254.0.0/16", "192.168.7.7/32", "100.100.100.200/32")
	for _, c := range []struct {
		ip      string
		public  bool
		allowed bool // with those networks
	}{
		{"93.184.216.34", true, true},
		{"2606:2800:220:1::1", true, true},
		{"0.0.0.0", false, false},
		{"127.0.0.1", false, false},
		{"127.255.1.2", false, false},
		{"10.0.0.1", false, false},
		{"10.1.2.3", false, true},
		{"172.16.0.1", false, false},
		{"172.31.255.255", false, false},
		{"172.32.0.1", true, true},
		{"192.168.0.1", false, false},
		{"192.168.7.7", false, true},
		{"100.64.0.1", false, false}, // CGNAT
		{"100.127.255.255", false, false},
		{"100.128.0.1", true, true},
		{"169.254.1.1", false, true},
		{"169.254.169.254", false, false}, // credentials need more than their network
		{"100.100.100.200", false, true},
		{"168.63.129.16", false, false},
		{"192.0.0.192", false, false},
		{"198.18.0.1", false, false},
		{"203.0.113.5", false, false},
		{"224.0.0.1", false, false},
		{"239.1.1.1", false, false},
		{"240.0.0.1", false, false},
		{"255.255.255.255", false, false},
		{"::", false, false},
		{"::1", false, false},
		{"::ffff:127.0.0.1", false, false},
		{"::ffff:10.1.2.3", false, true},
		{"::ffff:93.184.216.34", true, true},
		{"::127.0.0.1", false, false},
		{"64:ff9b::7f00:1", false, false},
		{"64:ff9b::a01:203", false, true}, // 10.1.2.3
		{"64:ff9b::a9fe:a9fe", false, false},
		{"64:ff9b::5db8:d822", true, true}, // 93.184.216.34
		{"64:ff9b:1::7f00:1", false, false},
		{"2002:7f00:1::", false, false},
		{"2001:0:1::1", false, false},
		{"2001:db8::1", false, false},
		{"fc00::1", false, false},
		{"fd12::1", false, true},
		{"fd00:ec2::254", false, false},
		{"fe80::1", false, false},
		{"fe80::1%eth0", false, false},
		{"fec0::1", false, false},
		{"ff02::1", false, false},
	} {
		ip := netip.MustParseAddr(c.ip)
		err := checkAddress(ip, nil)
		if (err == nil) != c.public || err != nil && !errors.Is(err, errAddress) {
			t.Errorf("%s: %v, want public %v", c.ip, err, c.public)
		}
		if err := checkAddress(ip, allowed); (err == nil) != c.allowed {
			t.Errorf("%s with networks allowed: %v, want allowed %v", c.ip, err, c.allowed)
		}
	}
}

// A name that leads to us is refused when it is called, whatever it was before; so is what only looks like a name.
func TestNamesAreCheckedWhenCalled(t *testing.T) {
	t.Parallel()
	s := newSender(WebhookConfig{AllowHTTP: true})
	defer s.close()
	for _, url := range []string{
		"http://localhost:9/", "http://LOCALHOST.:9/", "http://127.1:9/", "http://0x7f.1:9/", "http://2130706433:9/", "http://[::ffff:7f00:1]:9/",
		"http://0:9/",
	} {
		err := s.post(context.Background(), &Webhook{URL: url}, "s", eventOf(t, "e", "p"))
		if errors.Is(err, errAddress) {
			if !isPermanent(err) {
				t.Errorf("%s is tried again: %v", url, err)
			}
			continue
		}
		// The resolver knows no such name. It must not have got through.
		if err == nil || !strings.Contains(err.Error(), "lookup") {
			t.Errorf("%s: %v, want it refused", url, err)
		}
	}
}
