package web

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// CertificatesConfig names the files of a certificate.
type CertificatesConfig struct {
	// CertFile is a PEM file with the certificate, then those between it and the root; KeyFile has its private key.
	CertFile, KeyFile string

	// Changed hears of every attempt to load a changed pair, nil if it is in use now, else why the old one stays. It
	// is called from handshakes and must not wait. Nil means nobody listens.
	Changed func(error)
}

// Validate reports what is missing.
func (c CertificatesConfig) Validate() error {
	if c.CertFile == "" || c.KeyFile == "" {
		return errors.New("tls.certFile and tls.keyFile: one is missing; give both")
	}
	return nil
}

// Certificates is a certificate that follows its files: they are looked at, at most once a second, when somebody
// connects, and by Reload. A pair that does not fit, as while one file has been replaced and the other not yet, leaves
// the old one in use.
type Certificates struct {
	cfg     CertificatesConfig
	current atomic.Pointer[tls.Certificate]
	before  atomic.Pointer[tls.Certificate] // the one that was current before it; nil: none
	next    atomic.Int64                    // Unix nanoseconds, before which the files are not looked at

	// Held while files are read: handshakes do not wait for it, they go on with the certificate there is.
	reading sync.Mutex
	seen    [2]fileState // of the last attempt
	missing bool         // the files were not there the last time
}

// fileState tells a file from the one it replaced. Renaming and writing change it, and so does the swap of the symbolic
// link by which Kubernetes updates a mounted secret.
type fileState struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

func (f fileState) same(g fileState) bool {
	return f.modified.Equal(g.modified) && f.size == g.size && os.SameFile(f.info, g.info)
}

// LoadCertificates reads the files for the first time.
func LoadCertificates(cfg CertificatesConfig) (*Certificates, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Certificates{cfg: cfg}
	if err := c.load(); err != nil {
		return nil, err
	}
	c.next.Store(time.Now().Add(certificateInterval).UnixNano())
	return c, nil
}

const certificateInterval = time.Second

// TLS returns a configuration for ServeConfig.
func (c *Certificates) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.look()
			return c.current.Load(), nil
		},
	}
}

// Reload reads the files now, changed or not. When it fails, the old certificate stays.
func (c *Certificates) Reload() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	return c.load()
}

// look follows the files, if that has not been done a moment ago.
func (c *Certificates) look() {
	now, next := time.Now(), c.next.Load()
	if now.UnixNano() < next || !c.next.CompareAndSwap(next, now.Add(certificateInterval).UnixNano()) || !c.reading.TryLock() {
		return
	}
	defer c.reading.Unlock()
	state, err := c.state()
	missed := c.missing
	c.missing = err != nil
	switch {
	case c.missing && missed, !c.missing && state[0].same(c.seen[0]) && state[1].same(c.seen[1]):
		return // as it was
	}
	if err = c.load(); c.cfg.Changed != nil {
		c.cfg.Changed(err)
	}
}

func (c *Certificates) state() ([2]fileState, error) {
	var states [2]fileState
	for i, name := range []string{c.cfg.CertFile, c.cfg.KeyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return states, err
		}
		states[i] = fileState{info.ModTime(), info.Size(), info}
	}
	return states, nil
}

// load notes the state of the files before it reads them, so that one replaced meanwhile is seen to have changed.
func (c *Certificates) load() error {
	state, err := c.state()
	if err != nil {
		return fmt.Errorf("tls.certFile and tls.keyFile: %w", err)
	}
	c.seen = state
	pair, err := tls.LoadX509KeyPair(c.cfg.CertFile, c.cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("tls.certFile and tls.keyFile: %w", err)
	}
	if was := c.current.Swap(&pair); was != nil && !was.Leaf.Equal(pair.Leaf) {
		c.before.Store(was)
	}
	return nil
}
