package web

import (
	"compress/gzip"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"
)

func bundles() http.Handler {
	return Bundles("/socket.io", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
}

func TestBundles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"socket.io.js", "socket.io.min.js", "socket.io.esm.min.js",
		"socket.io.js.map", "socket.io.min.js.map", "socket.io.esm.min.js.map"} {
		t.Run(name, func(t *testing.T) {
			res := ask(bundles(), "GET", "/socket.io/"+name+"?v=1", "")
			if res.StatusCode != http.StatusOK {
				t.Fatalf("got status %d", res.StatusCode)
			}
			contentType := "application/javascript; charset=utf-8"
			if strings.HasSuffix(name, ".map") {
				contentType = "application/json; charset=utf-8"
			}
			for header, want := range map[string]string{
				"Content-Type":     contentType,
				"ETag":             `"4.8.4"`,
				"Cache-Control":    "public, max-age=0",
				"Vary":             "Accept-Encoding",
				"Content-Encoding": "",
			} {
				if got := res.Header.Get(header); got != want {
					t.Errorf("%s: got %q, want %q", header, got, want)
				}
			}
			body := bodyOf(t, res)
			if sha256.Sum256([]byte(body)) != sha256.Sum256(mustRead("vendor/"+name)) {
				t.Error("the body is not the file")
			}
			if strings.HasSuffix(name, ".js") && !strings.Contains(body[:100], "Socket.IO v"+clientVersion+"\n") {
				t.Errorf("the file is not of version %s: %q", clientVersion, body[:100])
			}
		})
	}
}

func TestBundlesNotModified(t *testing.T) {
	t.Parallel()
	for etag, want := range map[string]int{
		`"4.8.4"`:   http.StatusNotModified,
		`W/"4.8.4"`: http.StatusNotModified,
		`"4.8.3"`:   http.StatusOK,
	} {
		res := ask(bundles(), "GET", "/socket.io/socket.io.js", "", "If-None-Match", etag)
		if res.StatusCode != want {
			t.Errorf("If-None-Match %s: got status %d, want %d", etag, res.StatusCode, want)
		}
		if body := bodyOf(t, res); want == http.StatusNotModified && body != "" {
			t.Errorf("If-None-Match %s: a 304 has a body of %d bytes", etag, len(body))
		}
	}
}

func TestBundlesCompressed(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"gzip":                   "gzip",
		"br, deflate , GZIP;q=1": "gzip",
		"gzip;q=0.5, identity":   "gzip",
		"gzip;q=0":               "",
		"gzip; q=0.0":            "",
		"br":                     "",
		"":                       "",
	} {
		res := ask(bundles(), "GET", "/socket.io/socket.io.min.js", "", "Accept-Encoding", accept)
		if got := res.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: got encoding %q, want %q", accept, got, want)
			continue
		}
		if want == "" {
			continue
		}
		z, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(z)
		if err != nil || string(body) != string(mustRead("vendor/socket.io.min.js")) {
			t.Errorf("Accept-Encoding %q: the body does not unpack to the file: %v", accept, err)
		}
	}
}

func TestBundlesLeaveTheRest(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/socket.io/", "/socket.io/?EIO=4&transport=polling", "/socket.io/LICENSE",
		"/socket.io/socket.io.msgpack.min.js", "/socket.io.js", "/socket.io/vendor/socket.io.js"} {
		if res := ask(bundles(), "GET", target, ""); res.StatusCode != http.StatusTeapot {
			t.Errorf("%s: got status %d, want it passed on", target, res.StatusCode)
		}
	}
	wantProblem(t, ask(bundles(), "POST", "/socket.io/socket.io.js", "x"), http.StatusMethodNotAllowed, "")
}
