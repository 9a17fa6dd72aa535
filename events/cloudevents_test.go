package events

import (
	"errors"
	"testing"
)

func TestDecodeCloudEvent(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, raw, want string }{
		{"every attribute",
			`{"specversion":"1.0","id":"e","source":"/up","type":"photo.uploaded","time":"2026-01-31T12:00:00Z",` +
				`"clientid":"c","sessionid":"s","traceid":"t","traceparent":"00-1","dataversion":"2.1",` +
				`"subject":"p1","datacontenttype":"application/json","data":{"photoId":"p1"}}`,
			`{"id":"e","type":"photo.uploaded","data":{"photoId":"p1"},"metadata":{"source":"/up","traceId":"t",` +
				`"clientId":"c","sessionId":"s","version":"2.1","traceparent":"00-1"},` +
				`"timestamp":"2026-01-31T12:00:00Z","subject":"p1","datacontenttype":"application/json"}`},
		{"least", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{}}`,
			`{"id":"e","type":"t","data":{},"metadata":{"source":"s","version":"1.0"}}`},
		{"null is unset", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"time":null,"dataversion":null,"subject":null}`,
			`{"id":"e","type":"t","data":{},"metadata":{"source":"s","version":"1.0"}}`},
		{"the last of a name counts", `{"specversion":"0.3","id":"d","id":"e","source":"r","source":"s","type":"t","data":{},"specversion":"1.0"}`,
			`{"id":"e","type":"t","data":{},"metadata":{"source":"s","version":"1.0"}}`},
		{"values stay escaped as they were", `{"specversion":"1.0","\u0069d":"\u0065","source":"\"s\"","type":"t","data":{"k":"\u00e9"},"e\u0078t":1}`,
			`{"id":"\u0065","type":"t","data":{"k":"\u00e9"},"metadata":{"source":"\"s\"","version":"1.0"},"e\u0078t":1}`},
		{"another JSON type, and no base64", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"datacontenttype":"Application/vnd.x+JSON; charset=utf-8","data_base64":null}`,
			`{"id":"e","type":"t","data":{},"metadata":{"source":"s","version":"1.0"},"datacontenttype":"Application/vnd.x+JSON; charset=utf-8"}`},
		{"extensions cannot pass for what they are not", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"timestamp":1,"metadata":"m"}`,
			`{"id":"e","type":"t","data":{},"metadata":{"source":"s","version":"1.0"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(decode(t, tt.raw).Raw()); got != tt.want {
				t.Errorf("Raw() = %s\nwant    %s", got, tt.want)
			}
		})
	}
}

func TestDecodeCloudEventRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, raw, want string }{
		{"base64 data", `{"specversion":"1.0","id":"e","source":"s","type":"t","data_base64":"AA=="}`, `field "data_base64": want none: the bus takes data that is a JSON object, in data`},
		{"both data", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"data_base64":"AA=="}`, `field "data_base64": want none: the bus takes data that is a JSON object, in data`},
		{"data that is no JSON", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":"<a/>","datacontenttype":"text/xml"}`,
			`field "datacontenttype": want application/json or another JSON media type, or none`},
		{"number for datacontenttype", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"datacontenttype":5}`,
			`field "datacontenttype": want application/json or another JSON media type, or none`},
		{"data that is no object", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":"x"}`, `field "data": want an object`},
		{"number for traceparent", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"traceparent":5}`, `field "traceparent": want a string`},
		{"no type", `{"specversion":"1.0","id":"e","source":"s","data":{}}`, `field "type": want a non-empty string of at most 256 bytes`},
		{"number for time", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"time":5}`, `field "time": want a string`},
		{"number for clientid", `{"specversion":"1.0","id":"e","source":"s","type":"t","data":{},"clientid":5}`, `field "clientid": want a string`},
		{"no id", `{"specversion":"1.0","source":"s","type":"t","data":{}}`, `field "id": want a non-empty string of at most 256 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]byte(tt.raw), 0)
			if want := "malformed event: " + tt.want; !errors.Is(err, ErrMalformed) || err.Error() != want {
				t.Errorf("Decode: %v, want %s", err, want)
			}
		})
	}
}
