package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxProxies = 256
	maxHops    = 16 // proxies one request may have come through
)

// ParseProxies reads the list server.trustedProxies: addresses, and networks like 10.0.0.0/8, of the proxies whose word on
// where a request comes from is believed.
func ParseProxies(list []string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	var errs []error
	if len(list) > maxProxies {
		return nil, fmt.Errorf("server.trustedProxies: %d entries; give at most %d", len(list), maxProxies)
	}
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if addr, bad := netip.ParseAddr(text); bad == nil && addr.Zone() == "" {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("server.trustedProxies: %.64q; give an address, or a network like 10.0.0.0/8", text))
			continue
		}
		if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
		}
		if prefix.Bits() == 0 {
			errs = append(errs, fmt.Errorf("server.trustedProxies: %.64s believes anybody; give the networks of your proxies", text))
		}
		proxies = append(proxies, prefix.Masked())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return proxies, nil
}

// ClientIP returns where a request comes from: the peer, unless that is a trusted proxy. Then it is whom the proxy names in
// X-Forwarded-For, or in Forwarded (RFC 7239) without one; and so on through further trusted proxies. What an untrusted
// one says is not believed, nor are two headers that disagree, since a proxy writes one of them and passes on what the
// client has put into the other. The last address that is known is the answer then. It is invalid if there is none.
func ClientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	return ClientAddr(r.RemoteAddr, r.Header, trusted)
}

// ClientAddr is ClientIP for a request of which only the peer's "IP:port", X-Forwarded-For and Forwarded have been kept.
func ClientAddr(remoteAddr string, h http.Header, trusted []netip.Prefix) netip.Addr {
	peer, ok := parseNode(remoteAddr)
	if !ok || !isTrusted(peer, trusted) {
		return peer
	}
	xff, forwarded := h["X-Forwarded-For"], h["Forwarded"]
	switch {
	case len(forwarded) == 0:
		return walk(peer, xff, parseNode, trusted)
	case len(xff) == 0:
		return walk(peer, forwarded, parseForwarded, trusted)
	}
	one, other := walk(peer, xff, parseNode, trusted), walk(peer, forwarded, parseForwarded, trusted)
	if one != other {
		return peer
	}
	return one
}

// walk goes back from the peer through the entries of a header, each made by the one after it, for as long as these are
// trusted.
func walk(peer netip.Addr, lines []string, parse func(string) (netip.Addr, bool), trusted []netip.Prefix) netip.Addr {
	at := peer
	hops := 0
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			entry := line
			if comma := strings.LastIndexByte(line, ','); comma >= 0 {
				line, entry = line[:comma], line[comma+1:]
			} else {
				more = false
			}
			addr, ok := parse(strings.Trim(entry, " \t"))
			if hops++; !ok || hops > maxHops {
				return at
			}
			if at = addr; !isTrusted(addr, trusted) {
				return at
			}
		}
	}
	return at
}

// parseForwarded reads the for parameter of one element of Forwarded.
func parseForwarded(element string) (netip.Addr, bool) {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		return parseNode(value)
	}
	return netip.Addr{}, false
}

// parseNode reads an address with or without a port: "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80".
func parseNode(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		var both netip.AddrPort
		if both, err = netip.ParseAddrPort(s); err == nil {
			addr = both.Addr()
		} else if inner, ok := strings.CutPrefix(s, "["); ok {
			if inner, ok = strings.CutSuffix(inner, "]"); ok {
				addr, err = netip.ParseAddr(inner)
			}
		}
	}
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// AddrKey names what an address is limited as: an IPv4 address, or the /64 of an IPv6 one, of which a client has all.
func AddrKey(addr netip.Addr) string {
	if addr = addr.Unmap().WithZone(""); !addr.Is6() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr.String() // it has 128 bits: it cannot happen
	}
	return network.String()
}
