package adapter

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMsgpackToJSON(t *testing.T) {
	for _, c := range []struct{ hex, want string }{
		{"c0", "null"}, {"c2", "false"}, {"c3", "true"},
		{"00", "0"}, {"7f", "127"}, {"ff", "-1"}, {"e0", "-32"},
		{"ccff", "255"}, {"cdffff", "65535"}, {"ceffffffff", "4294967295"}, {"cfffffffffffffffff", "18446744073709551615"},
		{"d080", "-128"}, {"d18000", "-32768"}, {"d280000000", "-2147483648"}, {"d38000000000000000", "-9223372036854775808"},
		{"cf0020000000000001", "9007199254740993"},
		{"ca3f800000", "1"}, {"ca3dcccccd", "0.10000000149011612"},
		{"cb3ff8000000000000", "1.5"}, {"cb8000000000000000", "-0"},
		{"cb444b1ae4d6e2ef50", "1e+21"}, {"cb4415af1d78b58c40", "100000000000000000000"}, {"cb3e7ad7f29abcaf48", "1e-7"},
		{"cb3eb0c6f7a0b5ed8d", "0.000001"}, {"cb01a56e1fc2f8f359", "1e-300"}, {"cb0000000000000001", "5e-324"},
		{"cb7ff8000000000000", "null"}, {"cb7ff0000000000000", "null"}, {"cbfff0000000000000", "null"},
		{"a0", `""`}, {"a161", `"a"`}, {"d90161", `"a"`}, {"da000161", `"a"`}, {"db0000000161", `"a"`},
		{"a8 22 5c 08 0c 0a 0d 09 1f", `"\"\\\b\f\n\r\t\u001f"`}, {"a23c7f", "\"<\x7f\""}, {"a3e280a8", "\"\u2028\""},
		{"a3 61ff62", "\"a\ufffdb\""}, {"a3 eda080", "\"\ufffd\ufffd\ufffd\""}, {"a3 efbfbd", "\"\ufffd\""}, {"a2 f09f", "\"\ufffd\ufffd\""},
		{"c40101", `{"_placeholder":true,"num":-1,"base64":"AQ=="}`}, {"c500020102", `{"_placeholder":true,"num":-1,"base64":"AQI="}`},
		{"c60000000101", `{"_placeholder":true,"num":-1,"base64":"AQ=="}`}, {"c400", `{"_placeholder":true,"num":-1,"base64":""}`},
		{"90", "[]"}, {"9201c0", "[1,null]"}, {"dc000101", "[1]"}, {"dd0000000101", "[1]"}, {"9190", "[[]]"},
		{"80", "{}"}, {"82a16101a1628 0", `{"a":1,"b":{}}`}, {"de0001a16101", `{"a":1}`}, {"df00000001a16101", `{"a":1}`},
		{"8201a161ffa162", `{"1":"a","-1":"b"}`}, {"81cfffffffffffffffff01", `{"18446744073709551615":1}`},
		{"d40000", "null"}, {"92d4000001", "[null,1]"},
		{"83a161d40000a16201a163d40000", `{"b":1}`}, {"81a161d40000", "{}"}, {"82a16101a162d40000", `{"a":1}`},
		{"c7 02 00 0102", `{"_placeholder":true,"num":-1,"base64":"AQI="}`}, {"c80001 00 01", `{"_placeholder":true,"num":-1,"base64":"AQ=="}`},
		{"c900000001 00 01", `{"_placeholder":true,"num":-1,"base64":"AQ=="}`},
		{"d6ff 00000000", `"1970-01-01T00:00:00.000Z"`}, {"d6ff ffffffff", `"2106-02-07T06:28:15.000Z"`},
		{"d7ff 1d535300 6553f100", `"2023-11-14T22:13:20.123Z"`},
		{"c70cff 1dcd6500 fffffffffffffffe", `"1969-12-31T23:59:58.500Z"`},
		{"c70cff 00000000 000000003afff440ff", ""},                                        // a byte too many
		{"c70cff 00000000 0000003afff44180", `"+010000-01-01T00:00:00.000Z"`},             // 253402300800 s
		{"c70cff 00000000 fffffff184aa5080", `"-000001-01-01T00:00:00.000Z"`},             // -62198755200 s
		{"c70cff 00000000 000007dba8218000", `"+275760-09-13T00:00:00.000Z"`},             // the last Date
		{"c70cff 00000001 000007dba8218001", "null"},                                      // there is none
		{"c70cff 00000000 7fffffffffffffff", "null"},                                      //
		{"d700 0000018bcfe5687b", `"2023-11-14T22:13:20.123Z"`},                           // notepack.io's own
		{"d700 ffffffffffffffff", `"1969-12-31T23:59:59.999Z"`},                           //
		{"82 ac5f706c616365686f6c646572c3 a36e756dff", `{ "_placeholder":true,"num":-1}`}, // no stand-in
		{"82 a161d40000 ac5f706c616365686f6c646572c3", `{ "_placeholder":true}`},

		{"", ""}, {"c1", ""}, {"0000", ""}, {"91", ""}, {"a2 61", ""}, {"d9", ""}, {"81a161", ""}, {"81", ""}, {"8101", ""}, {"81c001", ""},
		{"81cb3ff800000000000001", ""}, {"81c4016101", ""}, {"ddffffffff", ""}, {"dfffffffff", ""}, {"dbffffffff61", ""}, {"c6ffffffff61", ""},
		{"c9ffffffff0061", ""}, {"c9ffffff", ""}, {"c7", ""}, {"c701", ""}, {"d4", ""}, {"d400", ""}, {"d40100", ""}, {"d5000000", ""}, {"d6ff0000", ""},
		{"d60000000000", ""}, {"d80000", ""}, {"c705ff0000000000", ""}, {"c70101ff", ""}, {"cf00", ""}, {"cb00", ""}, {"ca00", ""}, {"d700", ""},
		{"c703030000000000", ""}, {"d703 0000000000000000", ""}, {"c70c05 000000000000000000000000", ""},
	} {
		got, err := msgpackToJSON(nil, unhex(t, c.hex))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s is %s, want an error", c.hex, got)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s is %s, %v, want %s", c.hex, got, err, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("%s is %s, which is not JSON", c.hex, got)
		}
	}
}

func TestJSONToMsgpack(t *testing.T) {
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	for _, c := range []struct{ json, want string }{
		{"null", "c0"}, {" true ", "c3"}, {"false", "c2"},
		{"0", "00"}, {"127", "7f"}, {"128", "cc80"}, {"256", "cd0100"}, {"65536", "ce00010000"}, {"4294967296", "cf0000000100000000"},
		{"-1", "ff"}, {"-32", "e0"}, {"-33", "d0df"}, {"-129", "d1ff7f"}, {"-32769", "d2ffff7fff"}, {"-2147483649", "d3ffffffff7fffffff"},
		{"18446744073709551615", "cfffffffffffffffff"}, {"-9223372036854775808", "d38000000000000000"},
		{"18446744073709551616", "cb43f0000000000000"}, {"1e400", "cb7ff0000000000000"},
		{"1.5", "cb3ff8000000000000"}, {"1e2", "cb4059000000000000"}, {"-0", "cb8000000000000000"},
		{`""`, "a0"}, {`"a"`, "a161"}, {`"\"\\\/\b\f\n\r\t\u00e9"`, "aa225c2f080c0a0d09c3a9"}, {`"\ud83d\ude00"`, "a4f09f9880"}, {`"\ud83d"`, "a3efbfbd"},
		{"\"\xff\"", "a3efbfbd"}, {"\"\x84\x84\"", "a6efbfbdefbfbd"}, {`"\\"`, "a15c"},
		{`"` + strings.Repeat("a", 32) + `"`, "d920" + strings.Repeat("61", 32)},
		{"[]", "90"}, {"[ 1 , [ ] ,{} ]", "93019080"}, {list(15), "9f" + strings.Repeat("01", 15)}, {list(16), "dc0010" + strings.Repeat("01", 16)},
		{list(65536), "dd00010000" + strings.Repeat("01", 65536)},
		{"[" + list(16) + ",2]", "92dc0010" + strings.Repeat("01", 16) + "02"},
		{`{ "a" : 1 , "\u0062":{"c":[ ]}}`, "82a16101a16281a16390"},
		{`[{"_placeholder":true,"num":-1,"base64":"AQ=="},1]`, "92c4010101"},
		{`{"a":{"_placeholder":true,"num":-1,"base64":""}}`, "81a161c400"},
		{`{"_placeholder":true,"num":-1,"base64":"?"}`, "83ac5f706c616365686f6c646572c3a36e756dffa6626173653634a13f"},
		{`{"_placeholder":true,"num":-1,"base64":"AQ==","more":1}`, "84ac5f706c616365686f6c646572c3a36e756dffa6626173653634a441513d3da46d6f726501"},
		{`{ "_placeholder":true,"num":-1,"base64":"AQ=="}`, "83ac5f706c616365686f6c646572c3a36e756dffa6626173653634a441513d3d"},
		{"", ""}, {"1 2", ""}, {"[1,]", ""}, {`{"a"}`, ""}, {`"`, ""}, {"01", ""}, {"NaN", ""}, {`["\x"]`, ""}, {"[", ""},
	} {
		got, err := jsonToMsgpack([]byte("before"), c.json, true)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s is %x, want an error", c.json, got)
			}
			continue
		}
		if want := "before" + string(unhex(t, c.want)); err != nil || string(got) != want {
			t.Errorf("%.60s is %x, %v, want %s", c.json, got, err, c.want)
		}
	}
	plain, err := jsonToMsgpack(nil, string(standIn("AQ==")), false)
	if err != nil || plain[0] != 0x83 {
		t.Errorf("a stand-in where nothing is binary is %x, %v, want an object", plain, err)
	}
}

func TestDepth(t *testing.T) {
	for _, open := range []struct{ json, closing, packed string }{{"[", "]", "91"}, {`{"a":`, "}", "81a161"}} {
		for _, c := range []struct {
			depth int
			ok    bool
		}{{maxDepth, true}, {maxDepth + 1, false}, {5_000_000, false}} {
			text := strings.Repeat(open.json, c.depth) + "1" + strings.Repeat(open.closing, c.depth)
			if err := checkJSON(text); (err == nil) != c.ok || !c.ok && !errors.Is(err, errDepth) {
				t.Errorf("JSON %d levels deep: %v", c.depth, err)
			}
			packed := append(bytes.Repeat(unhex(t, open.packed), c.depth), 1)
			got, err := msgpackToJSON(nil, packed)
			if (err == nil) != c.ok || !c.ok && !errors.Is(err, errDepth) {
				t.Errorf("MessagePack %d levels deep: %v", c.depth, err)
			}
			if c.ok && string(got) != text {
				t.Errorf("MessagePack %d levels deep is %.80s", c.depth, got)
			}
		}
	}
	for _, last := range []struct {
		hex string
		ok  bool
	}{{"01", true}, {"90", false}, {"c40101", false}, {"c7010001", false}} {
		packed := append(bytes.Repeat([]byte{0x91}, maxDepth), unhex(t, last.hex)...)
		if _, err := msgpackToJSON(nil, packed); (err == nil) != last.ok || !last.ok && !errors.Is(err, errDepth) {
			t.Errorf("%s at the last level: %v", last.hex, err)
		}
	}
	for _, flat := range []string{
		"[" + strings.Repeat("[],{},", maxDepth) + "1]",
		`["` + strings.Repeat(`[{\"`, maxDepth) + `"]`,
	} {
		if err := checkJSON(flat); err != nil {
			t.Errorf("many brackets that are not nested: %v", err)
		}
	}
	if err := checkJSON(strings.Repeat("[", maxDepth+1) + `"` + strings.Repeat("]", maxDepth)); !errors.Is(err, errDepth) {
		t.Errorf("brackets in text close nothing: %v", err)
	}
}

func TestMsgpackLengths(t *testing.T) {
	for _, head := range []string{"ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffff00", "9fddffffffffddffffffff"} {
		src := unhex(t, head)
		if n := testing.AllocsPerRun(10, func() { _, _ = msgpackToJSON(nil, src) }); n > 10 {
			t.Errorf("%s makes %v allocations", head, n)
		}
	}
}

// What is decoded is JSON for browsers, and stays as it is when it is encoded and decoded again; nothing panics.
func FuzzMsgpack(f *testing.F) {
	for _, w := range readNodeWrote(f) {
		f.Add(w.Payload)
	}
	for _, s := range []string{"83a161d40000a16201a163d40000", "c70cff1dcd6500fffffffffffffffe", "82ac5f706c616365686f6c646572c3a36e756dff",
		"9acb8000000000000000ca3dcccccdcb444b1ae4d6e2ef50c40101cfffffffffffffffffd38000000000000000d40000d700ffffffffffffffffa3eda080c7020001ff"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		before := bytes.Clone(packed)
		text, err := msgpackToJSON(nil, packed)
		if !bytes.Equal(packed, before) {
			t.Fatalf("%x was changed to %x", before, packed)
		}
		if err != nil {
			return
		}
		if !json.Valid(text) || !utf8.Valid(text) {
			t.Fatalf("%x is %q, which is not JSON in UTF-8", packed, text)
		}
		again, err := jsonToMsgpack(nil, string(text), true)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		back, err := msgpackToJSON(nil, again)
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%x is %s, then %s, %v", packed, text, back, err)
		}
	})
}

// What is taken for JSON is what encoding/json takes, and means the same after MessagePack.
func FuzzJSONToMsgpack(f *testing.F) {
	for _, s := range []string{`{"a":[1,-1.5e-7,"\ud83d\ude00\n",null,{"b":true}]}`, `"\ud800"`, string(standIn("AQ==")), "-0", "1e400", " [ ] ", "\"\xff\"", "\"\x84\x84\"", "[1,]", `{"a":1,"a":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		packed, err := jsonToMsgpack(nil, text, false)
		if valid := json.Valid([]byte(text)); valid != (err == nil) && !errors.Is(err, errDepth) {
			t.Fatalf("%q: %v, but encoding/json says %v", text, err, valid)
		}
		if err != nil {
			return
		}
		back, err := msgpackToJSON(nil, packed)
		if err != nil {
			t.Fatalf("%q is %x: %v", text, packed, err)
		}
		var want, got any
		if json.Unmarshal([]byte(text), &want) != nil { // a number that is too large for it
			return
		}
		if err := json.Unmarshal(back, &got); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Fatalf("%q is %s, want %s", text, b, a)
		}
	})
}
