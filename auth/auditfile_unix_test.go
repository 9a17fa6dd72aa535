//go:build unix

package auth

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRotatedRefusesPipes, which would wait for a reader.
func TestRotatedRefusesPipes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openRotated(path, 0, 1); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}
