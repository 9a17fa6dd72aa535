package web

import (
	"embed"
	"net/http"
	"path"
)

//go:embed static
var static embed.FS

// clientVersion is the version of socket.io-client in static/vendor, and the ETag of its files.
const clientVersion = "4.8.4"

// Bundles serves the browser builds of socket.io-client under prefix, such as /socket.io/socket.io.js, the way Node's
// server does (its serveClient option), because existing front-ends load them from the server they connect to. Every
// other request goes to next. CORS headers, where wanted, are put around it. The MessagePack build is left out: this
// server does not speak it.
func Bundles(prefix string, next http.Handler) http.Handler {
	files := map[string]http.Handler{}
	for _, name := range []string{"socket.io.js", "socket.io.min.js", "socket.io.esm.min.js"} {
		for _, name := range []string{name, name + ".map"} {
			contentType := "application/javascript; charset=utf-8"
			if path.Ext(name) == ".map" {
				contentType = "application/json; charset=utf-8"
			}
			files[path.Join("/", prefix, name)] = readOnly(newAsset(mustRead("vendor/"+name), contentType,
				`"`+clientVersion+`"`, "public, max-age=0"))
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if file, ok := files[r.URL.Path]; ok {
			file.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// mustRead returns an embedded file. Which ones there are is settled when this is compiled.
func mustRead(name string) []byte {
	body, err := static.ReadFile("static/" + name)
	if err != nil {
		panic(err)
	}
	return body
}
