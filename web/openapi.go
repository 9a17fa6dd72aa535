package web

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
)

// openAPI describes everything on the internal port, as OpenAPI 3.1. It is written by hand; tests hold it against the
// operations, and their requests and answers against its schemas.
//
//go:embed openapi.json
var openAPI []byte

func openapiFile() http.Handler {
	return newAsset(openAPI, "application/json", fmt.Sprintf(`"%x"`, sha256.Sum256(openAPI)), "no-cache")
}
