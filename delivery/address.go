package delivery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// errAddress says that an address is none of the public Internet, and not one that is allowed.
var errAddress = errors.New("not allowed: list its network in delivery.webhooks.allowPrivate if it is meant")

// special are networks that are not of the public Internet (IANA's registries of special-purpose addresses), and ways
// to reach IPv4 through IPv6 that would lead into them unseen.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
	"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

// metadata is where clouds tell a machine its credentials. A network that is allowed does not include them: they are
// allowed one by one.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Google, Azure, OpenStack and others
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server, of a public network
}

// nat64 is the well-known prefix of RFC 6052: the last four bytes are an IPv4 address, and where the packets go.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// checkAddress refuses an address that only our own network reaches, unless it is in one of the networks allowed.
func checkAddress(ip netip.Addr, allowed []netip.Prefix) error {
	target := ip.WithZone("").Unmap()
	if nat64.Contains(target) {
		b := target.As16()
		target = netip.AddrFrom4([4]byte(b[12:]))
	}
	secret := slices.Contains(metadata, target)
	if !secret && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(target) }) {
		return nil
	}
	for _, p := range allowed {
		if p.Contains(target) && (!secret || p.IsSingleIP()) {
			return nil
		}
	}
	return fmt.Errorf("leads to the address %s, which is %w", target, errAddress)
}

// controlDial looks at the address that a connection is about to be made to, whatever a name stood for before: so a
// name that changes its address between two look-ups (DNS rebinding) gains nothing. It is a net.Dialer's Control.
func controlDial(allowed []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return Permanent(fmt.Errorf("%s is no address to connect to", network))
		}
		if err := checkAddress(to.Addr(), allowed); err != nil {
			return Permanent(err)
		}
		return nil
	}
}
