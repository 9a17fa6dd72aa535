package auth

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func TestParseRevocation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		json string
		want Revocation
		err  []string // none means that it is good
	}{
		{`{"userId":"alice"}`, Revocation{UserID: "alice"}, nil},
		{`{"tokenId":"t-1","reason":"lost phone","expires":"2026-01-31T12:00:00Z"}`, Revocation{TokenID: "t-1", Reason: "lost phone", Expires: noon}, nil},
		{`{"userId":"alice","before":"2026-01-31T13:00:00+01:00"}`, Revocation{UserID: "alice", Before: noon}, nil},
		{`{}`, Revocation{}, nil}, // Validate says what is missing
		{`{"userID":"alice"}`, Revocation{}, []string{`"userID" is unknown`, "userId, tokenId"}},
		{`{"userId":42,"tokenId":null,"before":0,"expires":"tomorrow"}`, Revocation{},
			[]string{"userId: want a string", "tokenId: want a string", "before: want a time", "expires: want a time"}},
		{`{"before":null}`, Revocation{}, []string{"before: want a time"}},
		{`[]`, Revocation{}, []string{"not a JSON object"}},
		{`null`, Revocation{}, []string{"not a JSON object"}},
		{``, Revocation{}, []string{"not a JSON object"}},
		{`{"userId":"alice"} {}`, Revocation{}, []string{"not a JSON object"}},
		{"{\"userId\":\"\xff\"}", Revocation{}, []string{"not a JSON object"}},
		{`{"reason":"` + strings.Repeat("x", maxRevocation) + `"}`, Revocation{}, []string{"at most 8192"}},
		{`{"` + strings.Repeat("x", 1000) + `":1}`, Revocation{}, []string{"is unknown"}},
	} {
		got, err := ParseRevocation([]byte(tt.json))
		if len(tt.err) == 0 && err != nil || !got.Before.Equal(tt.want.Before) || !got.Expires.Equal(tt.want.Expires) ||
			got.UserID != tt.want.UserID || got.TokenID != tt.want.TokenID || got.Reason != tt.want.Reason {
			t.Errorf("%.80s: got %+v, %v, want %+v", tt.json, got, err, tt.want)
		}
		for _, want := range tt.err {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.80s: got %v, want it to say %q", tt.json, err, want)
			}
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%.80s: an error of %d bytes", tt.json, len(err.Error()))
		}
	}
}

func TestRevocationRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range []Revocation{
		Revocation{UserID: "alice", Reason: `"<left>"`}.Complete(noon.Add(123*time.Millisecond), time.Time{}),
		Revocation{TokenID: "t-1"}.Complete(noon, noon.Add(time.Hour)),
	} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRevocation(b); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", b, got, err, want)
		}
	}
}

func TestRevocationComplete(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for _, tt := range []struct {
		name            string
		r               Revocation
		token           time.Time
		before, expires time.Time
	}{
		{"user", Revocation{UserID: "alice"}, time.Time{}, noon, noon.Add(30 * day)},
		{"user, all given", Revocation{UserID: "alice", Before: noon.Add(-day), Expires: noon.Add(day)}, time.Time{}, noon.Add(-day), noon.Add(day)},
		{"user's token is not asked about", Revocation{UserID: "alice"}, noon.Add(time.Hour), noon, noon.Add(30 * day)},
		{"token", Revocation{TokenID: "t"}, time.Time{}, time.Time{}, noon.Add(30 * day)},
		{"token, expiry known", Revocation{TokenID: "t"}, noon.Add(time.Hour), time.Time{}, noon.Add(time.Hour + maxLeeway)},
		{"token for years", Revocation{TokenID: "t"}, noon.Add(1000 * day), time.Time{}, noon.Add(400 * day)},
		{"token, expiry given", Revocation{TokenID: "t", Expires: noon.Add(day)}, noon.Add(time.Hour), time.Time{}, noon.Add(day)},
		{"token long expired", Revocation{TokenID: "t"}, noon.Add(-day), time.Time{}, noon.Add(30 * day)},
	} {
		got := tt.r.Complete(noon, tt.token)
		if !got.Before.Equal(tt.before) || !got.Expires.Equal(tt.expires) {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, got.Before, got.Expires, tt.before, tt.expires)
		}
		if err := got.Validate(noon); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestRevocationValidate(t *testing.T) {
	t.Parallel()
	soon := noon.Add(time.Hour)
	long := strings.Repeat("x", maxID+1)
	for _, tt := range []struct {
		r    Revocation
		want []string // in the error; none means valid
	}{
		{Revocation{UserID: "alice", Before: noon, Expires: soon}, nil},
		{Revocation{UserID: "alice", Before: soon, Expires: soon}, nil}, // locked out until then
		{Revocation{TokenID: "t", Expires: noon.Add(maxRevoked)}, nil},
		{Revocation{Expires: soon}, []string{"userId, tokenId: give exactly one"}},
		{Revocation{UserID: "alice", TokenID: "t", Before: noon, Expires: soon}, []string{"give exactly one", "before: goes with userId"}},
		{Revocation{TokenID: "t", Before: noon, Expires: soon}, []string{"before: goes with userId"}},
		{Revocation{UserID: "alice", Expires: soon}, []string{"before: missing"}},
		{Revocation{UserID: "alice", Before: soon.Add(1), Expires: soon}, []string{"before: give a time that is not after"}},
		{Revocation{TokenID: "t", Expires: noon.Add(-1)}, []string{"expires: 2026-01-31T11:59:59Z; give a time in the next 400 days"}},
		{Revocation{TokenID: "t", Expires: noon.Add(maxRevoked + 1)}, []string{"expires"}},
		{Revocation{TokenID: "t"}, []string{"expires"}},
		{Revocation{TokenID: long, Reason: long, Expires: soon}, []string{"tokenId: give at most 256", "reason: give at most 256"}},
		{Revocation{UserID: "\xff", Before: noon, Expires: soon}, []string{"userId: give at most"}},
	} {
		err := tt.r.Validate(noon)
		if len(tt.want) == 0 && err != nil {
			t.Errorf("%.80v: got %v", tt.r, err)
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.80v: got %v, want it to say %q", tt.r, err, want)
			}
		}
	}
}

func TestRevocationKey(t *testing.T) {
	t.Parallel()
	if a, b := (Revocation{UserID: "x"}).Key(), (Revocation{TokenID: "x"}).Key(); a != "user:x" || b != "token:x" {
		t.Errorf("got %q and %q", a, b)
	}
}

func TestErrRevoked(t *testing.T) {
	t.Parallel()
	if !errors.Is(ErrRevoked, ErrInvalid) || errors.Is(ErrRevoked, ErrExpired) || Message(ErrRevoked) != "Invalid token" {
		t.Errorf("got %v, %q", ErrRevoked, Message(ErrRevoked))
	}
}

func FuzzParseRevocation(f *testing.F) {
	f.Add([]byte(`{"userId":"alice","before":"2026-01-31T12:00:00Z","reason":"x","expires":"2026-02-28T12:00:00.5+01:00"}`))
	f.Add([]byte(`{"tokenId":"\u0000","userId":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRevocation(b)
		if err != nil {
			return
		}
		r = r.Complete(noon, time.Time{})
		if r.Validate(noon) != nil {
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRevocation(text); err != nil || again != r {
			t.Fatalf("got %+v, %v, want %+v", again, err, r)
		}
	})
}
