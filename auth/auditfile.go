package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

var errNotRegular = errors.New("not a regular file; give the path of one, or choose the sink stderr")

// rotated is a file that is appended to, and moved on when it is full: path, path.1, …, path.<keep>.
type rotated struct {
	path string
	max  int64 // bytes; zero means no limit
	keep int
	file *os.File // nil after an error
	out  writerSink
}

func openRotated(path string, max int64, keep int) (*rotated, error) {
	r := &rotated{path: path, max: max, keep: keep}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("security.audit.file: %w", err)
	}
	return r, nil
}

func (r *rotated) open() error {
	if info, err := os.Stat(r.path); err == nil && !info.Mode().IsRegular() { // opening a pipe would wait
		return &fs.PathError{Op: "open", Path: r.path, Err: errNotRegular}
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	torn, err := endsTorn(f)
	if err != nil {
		f.Close()
		return err
	}
	r.file, r.out = f, writerSink{w: f, torn: torn}
	return nil
}

// endsTorn reports whether a file's last line has no end: somebody was killed while writing it, or the disk was full.
func endsTorn(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return last[0] != '\n', err
}

func (r *rotated) write(ctx context.Context, records [][]byte) (int, error) {
	size := 0
	for _, one := range records {
		size += len(one)
	}
	if err := r.ready(int64(size)); err != nil {
		return 0, err
	}
	n, err := r.out.write(ctx, records)
	if err != nil {
		r.reopen()
	}
	return n, err
}

// ready sees to it that the file is there, and has room.
func (r *rotated) ready(size int64) error {
	if r.file != nil && r.moved() {
		r.reopen()
	}
	if r.file == nil {
		if err := r.open(); err != nil {
			return err
		}
	}
	if r.max == 0 {
		return nil
	}
	info, err := r.file.Stat()
	if err != nil || info.Size() == 0 || info.Size()+size <= r.max {
		return err
	}
	r.reopen()
	if err := r.shift(); err != nil {
		return err
	}
	return r.open()
}

// moved reports whether the path is another file's by now, or nobody's.
func (r *rotated) moved() bool {
	at, err := os.Stat(r.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	ours, err := r.file.Stat()
	return err == nil && !os.SameFile(at, ours)
}

// shift makes room at the path.
func (r *rotated) shift() error {
	name := func(i int) string {
		if i == 0 {
			return r.path
		}
		return fmt.Sprintf("%s.%d", r.path, i)
	}
	for i := r.keep - 1; i >= 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// reopen closes the file; the next write opens it.
func (r *rotated) reopen() {
	if r.file != nil {
		_ = r.file.Close() // nothing is buffered
		r.file = nil
	}
}

func (r *rotated) close() error {
	if r.file == nil {
		return nil
	}
	err := errors.Join(r.file.Sync(), r.file.Close())
	r.file = nil
	return err
}
