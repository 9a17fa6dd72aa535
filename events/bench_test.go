package events

import (
	"strings"
	"testing"
)

const smallEvent = `{"id":"0199f3c2-7d1e-7c3a-9b52-1f0e8d6c4a10","type":"photo.uploaded","data":{"photoId":"photo-123",` +
	`"userId":"user-42","filename":"a.jpg","size":2483921,"mimeType":"image/jpeg"},"metadata":{"source":"upload",` +
	`"clientId":"c-7","version":"1.0"},"timestamp":"2026-01-31T12:00:00.000Z"}`

func BenchmarkDecode(b *testing.B) {
	large := strings.Replace(smallEvent, `"size"`, `"tags":["`+strings.Repeat(`holiday","`, 170)+`"],"size"`, 1)
	for _, bb := range []struct{ name, raw string }{{"300B", smallEvent}, {"2kB", large}} {
		b.Run(bb.name, func(b *testing.B) {
			raw := []byte(bb.raw)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(raw, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	e := decode(b, smallEvent)
	for _, s := range []string{"metadata.clientId", "data.photoId"} {
		b.Run(s, func(b *testing.B) {
			p, err := ParsePath(s)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := e.Lookup(p); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	e := decode(b, smallEvent)
	b.ReportAllocs()
	for b.Loop() {
		if err := Validate(e); err != nil {
			b.Fatal(err)
		}
	}
}
