package web

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestSite(t *testing.T) {
	t.Parallel()
	site := NewSite(SiteConfig{})
	for _, c := range []struct{ path, contentType, contains string }{
		{"/", "text/html; charset=utf-8", "<title>Event Bus</title>"},
		{"/static/main.js", "text/javascript; charset=utf-8", "import { Connection }"},
		{"/static/style.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"},
		{"/static/favicon.svg", "image/svg+xml", "<svg"},
		{"/demo/config", "application/json", `{"dev":false}`},
	} {
		res := ask(site, "GET", c.path, "")
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: got status %d", c.path, res.StatusCode)
		}
		if got := res.Header.Get("Content-Type"); got != c.contentType {
			t.Errorf("%s: got content type %q, want %q", c.path, got, c.contentType)
		}
		if !strings.Contains(bodyOf(t, res), c.contains) {
			t.Errorf("%s: the body lacks %q", c.path, c.contains)
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": contentSecurityPolicy,
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%s: %s: got %q, want %q", c.path, header, got, want)
			}
		}
		wantProblem(t, ask(site, "POST", c.path, ""), http.StatusMethodNotAllowed, "")
		if etag := res.Header.Get("ETag"); etag != "" {
			if got := ask(site, "GET", c.path, "", "If-None-Match", etag).StatusCode; got != http.StatusNotModified {
				t.Errorf("%s: asked again: got status %d, want 304", c.path, got)
			}
		}
	}
	for _, path := range []string{"/nothing", "/static/", "/static/index.html", "/static/vendor/LICENSE", "/index.html", "/demo/run"} {
		wantProblem(t, ask(site, "GET", path, ""), http.StatusNotFound, "")
	}
}

func TestSiteTellsThePageOfDevMode(t *testing.T) {
	t.Parallel()
	site := NewSite(SiteConfig{Dev: &DevConfig{}})
	if got, want := bodyOf(t, ask(site, "GET", "/demo/config", "")), `{"dev":true}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	res := ask(site, "GET", "/demo/run", "")
	wantProblem(t, res, http.StatusMethodNotAllowed, "")
	if got := res.Header.Get("Allow"); got != "POST" {
		t.Errorf("got Allow %q, want POST", got)
	}
}

// What the page refers to is there, and it has nothing its content security policy would refuse.
func TestPageIsComplete(t *testing.T) {
	t.Parallel()
	all := Bundles("/socket.io", NewSite(SiteConfig{}))
	page := string(mustRead("index.html"))
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	for _, script := range []string{"main.js", "connection.js", "photos.js", "log.js", "art.js"} {
		for _, m := range regexp.MustCompile(`from "\./([^"]*)"`).FindAllStringSubmatch(string(mustRead(script)), -1) {
			links = append(links, []string{"", "static/" + m[1]})
		}
	}
	if len(links) < 9 {
		t.Fatalf("found only %d links", len(links))
	}
	for _, link := range links {
		if res := ask(all, "GET", "/"+link[1], ""); res.StatusCode != http.StatusOK {
			t.Errorf("%s: got status %d", link[1], res.StatusCode)
		}
	}
	if bad := regexp.MustCompile(`(?i)<style|<script>| style=| on[a-z]+=|="javascript:|https?://`).FindString(page); bad != "" {
		t.Errorf("the page has %q", bad)
	}
}
