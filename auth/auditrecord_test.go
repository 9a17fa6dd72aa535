package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

func decodeRecord(t testing.TB, line []byte) map[string]any {
	t.Helper()
	if !bytes.HasSuffix(line, []byte("\n")) || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("got %q, want one line", line)
	}
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return m
}

func TestRecordEncode(t *testing.T) {
	t.Parallel()
	got := string(Record{
		Time: noon.In(time.FixedZone("", 3600)), Event: AdminAction, UserID: "alice", TokenID: "t-1", SocketID: "s1", IP: "203.0.113.7",
		RequestID: "r1", Channel: "photo:upload", Action: "putFilter", Target: "PUT /api/v1/filters/a", EventType: "photo.processing.stage.completed",
		EventID: "e1", Reason: "line\nbreak", Status: 204, Replica: "a1",
	}.encode())
	sum := sha256.Sum256([]byte("t-1"))
	want := `{"time":"2026-01-31T12:00:00Z","event":"admin_action","userId":"alice","tokenId":"` + hex.EncodeToString(sum[:16]) +
		`","socketId":"s1","ip":"203.0.113.7","requestId":"r1","channel":"photo:upload","action":"putFilter","target":"PUT /api/v1/filters/a",` +
		`"eventType":"photo.processing.stage.completed","eventId":"e1","reason":"line\nbreak","status":204,"outcome":"success","replica":"a1"}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	least := decodeRecord(t, Record{Event: RateLimitExceeded}.encode())
	if len(least) != 4 || least["outcome"] != "denied" || least["replica"] != "" {
		t.Errorf("got %v, want time, event, outcome, replica", least)
	}
	if at, err := time.Parse(time.RFC3339, least["time"].(string)); err != nil || time.Since(at) > time.Minute {
		t.Errorf("got time %v, %v, want now", least["time"], err)
	}
	decodeRecord(t, Record{Time: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}.encode())
}

// TestRecordHoldsNoToken puts tokens into every text of a record, whole and in all kinds of company.
func TestRecordHoldsNoToken(t *testing.T) {
	t.Parallel()
	k := keys()
	long := alice()
	long["roles"] = strings.Repeat("x", 4000)
	short, _ := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	for _, token := range []string{
		sign(t, "HS256", testSecret, nil, alice()),
		sign(t, "RS256", k.rsa, map[string]any{"kid": "1"}, alice()),
		sign(t, "EdDSA", k.ed25519, nil, long),
		short,
	} {
		for _, around := range [][2]string{
			{"", ""}, {"Bearer ", ""}, {"token=", "&x=y"}, {"x.", ".y"}, {`{"token":"`, `"}`}, {strings.Repeat("y ", 120), ""},
			{"ü", "ü"}, {"photo.processing.stage.completed ", ""}, {"two: " + token + " ", ""},
		} {
			text := around[0] + token + around[1]
			var r Record
			fields := 0
			for _, field := range reflect.ValueOf(&r).Elem().Fields() {
				if field.Kind() == reflect.String {
					field.SetString(text)
					fields++
				}
			}
			if fields != 14 {
				t.Fatalf("got %d texts in a record; is a new one cleaned?", fields)
			}
			r.Replica = clean(r.Replica) // as NewAudit does
			line := string(r.encode())
			for _, part := range strings.Split(token, ".") {
				for ; len(part) > 8; part = part[:len(part)/2] { // nor the beginning of one
					if strings.Contains(line, part) {
						t.Fatalf("%.40s… in %.20q: got %s", token, around, line)
					}
				}
			}
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	head, body, sig := "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJhIn0", strings.Repeat("s", 43)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"photo.processing.stage.completed", "photo.processing.stage.completed"},
		{"org.example.exchange-rates.expected-values.of-yesterday", "org.example.exchange-rates.expected-values.of-yesterday"},
		{"eventbus-7f9c8d6b5f-x2x4z.eventbus.svc.cluster.local", "eventbus-7f9c8d6b5f-x2x4z.eventbus.svc.cluster.local"},
		{"tenant-12.photo.123e4567-e89b-12d3-a456-426614174000", "tenant-12.photo.123e4567-e89b-12d3-a456-426614174000"},
		{"2001:db8::1", "2001:db8::1"},
		{"Grüße, 世界…", "Grüße, 世界…"},
		{head + "." + body + "." + sig, "[token]"},
		{head + "." + body + ".", "[token]"},
		{head + "." + body, "[token]"}, // its end was cut off
		{head + ".e30.", "[token]"},
		{"IHsiYWxnIjoiSFMyNTYifQ.e30." + sig, "[token]"}, // a space before the brace
		{"a " + head + "." + body + "." + sig + ", b", "a [token], b"},
		{head, head}, // says nothing
		{strings.Repeat("x", 300), strings.Repeat("x", 256)},
		{strings.Repeat("ü", 200), strings.Repeat("ü", 128)},
		{"x" + strings.Repeat("ü", 200), "x" + strings.Repeat("ü", 127) + "\uFFFD"},
		{"a\xff\xfeb", "a\uFFFDb"},
	} {
		if got := clean(tt.in); got != tt.want {
			t.Errorf("%.60q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	token := sign(f, "HS256", testSecret, nil, alice())
	f.Add("", "")
	f.Add("x.", " .")
	f.Add("\xff", "\x00")
	f.Fuzz(func(t *testing.T, before, after string) {
		got := clean(before + token + after)
		if len(got) > 2*maxField || !utf8.ValidString(got) {
			t.Fatalf("got %q", got)
		}
		for i, part := range strings.Split(token, ".") {
			if strings.Contains(got, part) && !strings.Contains(before+after, part) {
				t.Fatalf("part %d of the token is in %q", i, got)
			}
		}
	})
}

func BenchmarkRecordEncode(b *testing.B) {
	r := Record{Event: ClientAuthenticated, UserID: "user-7", TokenID: "t-1", SocketID: "abcdefghijklmnop", IP: "203.0.113.7", Replica: "a1"}
	b.ReportAllocs()
	for b.Loop() {
		r.encode()
	}
}
