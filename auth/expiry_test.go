package auth

import (
	"strings"
	"testing"
)

func TestOnExpiry(t *testing.T) {
	t.Parallel()
	for o, good := range map[OnExpiry]bool{"": true, "close": true, "keep": true, "Close": false, "never": false} {
		err := o.Validate()
		if (err == nil) != good || !good && !strings.Contains(err.Error(), "security.jwt.onExpiry") {
			t.Errorf("%q: got %v", o, err)
		}
	}
}
