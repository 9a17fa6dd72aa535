package web

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Peers returns a configuration for clients of the other replicas' internal ports. Those are dialled by addresses that no
// certificate is for. So a peer is trusted that has the very certificate this one has, or had before the last change, as
// replicas do that mount the same secret; or one for a name that this one's is for, too, from an authority that the system
// trusts (SSL_CERT_FILE adds to those).
func (c *Certificates) Peers() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection:   c.verifyPeer,
	}
}

var errStranger = errors.New("the certificate is neither this replica's own, nor one for its name")

func (c *Certificates) verifyPeer(s tls.ConnectionState) error {
	c.look() // the peer may know of a change already
	leaf := s.PeerCertificates[0]
	current, before := c.current.Load(), c.before.Load()
	if leaf.Equal(current.Leaf) || before != nil && leaf.Equal(before.Leaf) {
		return nil // and the handshake has shown that it has the key
	}
	between := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	problems := []error{errStranger}
	for _, name := range current.Leaf.DNSNames {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Intermediates: between})
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
