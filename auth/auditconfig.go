package auth

import (
	"cmp"
	"errors"
	"fmt"
	"io"
)

// Sinks of an Audit.
const (
	AuditNone   = "none"
	AuditFile   = "file"
	AuditRedis  = "redis"
	AuditStderr = "stderr"
)

// AuditConfig says where the audit goes: JSON, one record a line.
type AuditConfig struct {
	// Sink is AuditNone, AuditFile, AuditRedis or AuditStderr. Empty means AuditNone.
	Sink string
	// File is the path for AuditFile. It is made for its owner alone, and appended to.
	File string
	// MaxSizeMB is how many MiB a file may have before it becomes File.1, and so on. Zero means 100; -1 leaves that to
	// somebody else, such as logrotate.
	MaxSizeMB int
	// MaxFiles is how many of these are kept besides File. Zero means 5.
	MaxFiles int
}

func (c AuditConfig) withDefaults() AuditConfig {
	c.Sink = cmp.Or(c.Sink, AuditNone)
	c.MaxSizeMB = cmp.Or(c.MaxSizeMB, 100)
	c.MaxFiles = cmp.Or(c.MaxFiles, 5)
	return c
}

// Validate reports all that is wrong with the configuration, and what would be right.
func (c AuditConfig) Validate() error {
	var errs []error
	switch c.withDefaults().Sink {
	case AuditNone, AuditFile, AuditRedis, AuditStderr:
	default:
		errs = append(errs, fmt.Errorf("security.audit.sink: %q is unknown; choose from none, file, redis, stderr", c.Sink))
	}
	if c.Sink == AuditFile && c.File == "" {
		errs = append(errs, errors.New("security.audit.file: missing; give the path of the file"))
	}
	if c.Sink != AuditFile && c.File != "" {
		errs = append(errs, fmt.Errorf("security.audit.file: needs the sink file; set security.audit.sink, or leave %q out", c.File))
	}
	if c.MaxSizeMB < -1 || c.MaxSizeMB > 1<<20 {
		errs = append(errs, fmt.Errorf("security.audit.maxSizeMB: %d; give 0 (100), or up to %d, or -1 for no limit", c.MaxSizeMB, 1<<20))
	}
	if c.MaxFiles < 0 || c.MaxFiles > 1000 {
		errs = append(errs, fmt.Errorf("security.audit.maxFiles: %d; give 0 (5) up to 1000", c.MaxFiles))
	}
	return errors.Join(errs...)
}

// open makes the sink.
func (c AuditConfig) open(stream stream, stderr io.Writer) (auditSink, error) {
	switch c.Sink {
	case AuditFile:
		return openRotated(c.File, max(int64(c.MaxSizeMB), 0)<<20, c.MaxFiles)
	case AuditRedis:
		if stream == nil {
			return nil, errors.New("security.audit.sink: redis needs a stream; choose file or stderr without one")
		}
		return streamSink{stream}, nil
	case AuditStderr:
		return &writerSink{w: stderr}, nil
	}
	return nil, nil
}
