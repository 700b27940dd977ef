package lwm2m

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// testModel has the resources of the specification's examples, and one of each kind.
var testModel = NewModel(
	Definition{ID: 3, Resources: []Resource{
		{ID: 0, Operations: R, Kind: KindString},
		{ID: 1, Operations: R, Kind: KindString},
		{ID: 6, Operations: R, Kind: KindInteger, Multiple: true},
		{ID: 7, Operations: R, Kind: KindInteger, Multiple: true},
		{ID: 9, Operations: R, Kind: KindInteger},
		{ID: 13, Operations: RW, Kind: KindTime},
		{ID: 16, Operations: R, Kind: KindString},
	}},
	Definition{ID: 66, Multiple: true, Resources: []Resource{
		{ID: 0, Kind: KindLink, Multiple: true},
		{ID: 1, Kind: KindLink},
	}},
	Definition{ID: 100, Multiple: true, Resources: []Resource{
		{ID: 0, Kind: KindString},
		{ID: 1, Kind: KindInteger},
		{ID: 2, Kind: KindUnsigned},
		{ID: 3, Kind: KindFloat},
		{ID: 4, Kind: KindBoolean},
		{ID: 5, Kind: KindOpaque},
		{ID: 6, Kind: KindTime},
		{ID: 7, Kind: KindLink},
		{ID: 8, Kind: KindString, Multiple: true},
		{ID: 300, Kind: KindFloat},
	}},
)

func path(s string) Path {
	p, err := ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

func rec(p string, v Value) Record { return Record{Path: path(p), Value: v} }

// valueComparer lets cmp print values instead of refusing their fields.
var valueComparer = cmp.Options{
	cmp.Comparer(func(a, b Value) bool { return a == b }),
	cmp.Comparer(func(a, b Path) bool { return a == b }),
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors are those of OMA LwM2M 1.1 sections 7.4.3 to 7.4.5.
func TestVectors(t *testing.T) {
	device := []Record{
		rec("/3/0/0", String("Open Mobile Alliance")),
		rec("/3/0/1", String("Lightweight M2M Client")),
		rec("/3/0/6/0", Int(1)), rec("/3/0/6/1", Int(5)),
		rec("/3/0/7/0", Int(3800)), rec("/3/0/7/1", Int(5000)),
		rec("/3/0/9", Int(100)),
		rec("/3/0/13", Time(time.Unix(1367491215, 0))),
		rec("/3/0/16", String("U")),
	}
	deviceTLV := "C800144F70656E204D6F62696C6520416C6C69616E6365" + "C801164C69676874776569676874204D324D20436C69656E74" +
		"8606 410001 410105" + "88070842000ED8 42011388" + "C10964" + "C40D5182428F" + "C11055"
	tests := []struct {
		name    string
		format  Format
		base    string
		payload string // hex, or JSON for SenML JSON
		records []Record
	}{
		{"TLV string", FormatTLV, "/3/0/0", "C800144F70656E204D6F62696C6520416C6C69616E6365", device[:1]},
		{"TLV instance", FormatTLV, "/3/0", deviceTLV, device},
		{"TLV multiple", FormatTLV, "/3/0/6", "8606 410001 410105", device[2:4]},
		{"TLV resource instance", FormatTLV, "/3/0/6/1", "410105", device[3:4]},
		{"TLV object links", FormatTLV, "/66/0", "88000C 44000042 0000 44010042 0001 C40100430000", []Record{
			rec("/66/0/0/0", ObjectLink(66, 0)), rec("/66/0/0/1", ObjectLink(66, 1)), rec("/66/0/1", ObjectLink(67, 0)),
		}},
		{"SenML JSON instance", FormatSenMLJSON, "/3/0", `[{"bn":"/3/0/","n":"0","vs":"Open Mobile Alliance"},{"n":"1","vs":"Lightweight M2M Client"},` +
			`{"n":"6/0","v":1},{"n":"6/1","v":5},{"n":"7/0","v":3800},{"n":"7/1","v":5000},{"n":"9","v":100},{"n":"13","v":1367491215},{"n":"16","vs":"U"}]`, device},
		{"SenML JSON links", FormatSenMLJSON, "/66", `[{"bn":"/66/","n":"0/0/0","vlo":"66:0"},{"n":"0/0/1","vlo":"66:1"},{"n":"0/1","vlo":"67:0"}]`, []Record{
			rec("/66/0/0/0", ObjectLink(66, 0)), rec("/66/0/0/1", ObjectLink(66, 1)), rec("/66/0/1", ObjectLink(67, 0)),
		}},
		{"SenML JSON one", FormatSenMLJSON, "/3/0/9", `[{"bn":"/3/0/9","v":100}]`, device[6:7]},
		{"JSON instance", FormatJSON, "/3/0", `{"bn":"/3/0/","e":[{"n":"0","sv":"Open Mobile Alliance"},{"n":"1","sv":"Lightweight M2M Client"},` +
			`{"n":"6/0","v":1},{"n":"6/1","v":5},{"n":"7/0","v":3800},{"n":"7/1","v":5000},{"n":"9","v":100},{"n":"13","v":1367491215},{"n":"16","sv":"U"}]}`, device},
		{"JSON links", FormatJSON, "/66", `{"bn":"/66/","e":[{"n":"0/0/0","ov":"66:0"},{"n":"0/0/1","ov":"66:1"},{"n":"0/1","ov":"67:0"}]}`, []Record{
			rec("/66/0/0/0", ObjectLink(66, 0)), rec("/66/0/0/1", ObjectLink(66, 1)), rec("/66/0/1", ObjectLink(67, 0)),
		}},
		{"JSON nothing", FormatJSON, "/66", `{"e":[]}`, []Record{}},
		{"SenML CBOR one", FormatSenMLCBOR, "/3/0/9", "81 A2 21 662F332F302F39 02 1864", device[6:7]},
		{"SenML CBOR multiple", FormatSenMLCBOR, "/3/0/6", "82 A3 21 672F332F302F362F 00 6130 02 01 A2 00 6131 02 05", device[2:4]},
		{"SenML CBOR link", FormatSenMLCBOR, "/66/0/1", "81 A2 21 672F36362F302F31 63766C6F 6436373A30", []Record{rec("/66/0/1", ObjectLink(67, 0))}},
		{"CBOR", FormatCBOR, "/3/0/9", "1864", device[6:7]},
		{"text", FormatText, "/3/0/9", hex.EncodeToString([]byte("100")), device[6:7]},
		{"opaque", FormatOpaque, "/100/0/5", "00FF", []Record{rec("/100/0/5", Opaque([]byte{0, 255}))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			payload := []byte(tt.payload)
			if tt.format != FormatSenMLJSON && tt.format != FormatJSON {
				payload = unhex(t, tt.payload)
			}
			got, err := Decode(tt.format, path(tt.base), payload, testModel)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.records, got, valueComparer); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			encoded, err := Encode(tt.format, path(tt.base), tt.records)
			if err != nil || !bytes.Equal(encoded, payload) {
				t.Errorf("encoded\n%x %s, %v\nwant\n%x %s", encoded, encoded, err, payload, payload)
			}
		})
	}
}

var extremes = []Record{
	rec("/100/7/0", String("ä\"\\\n\u2028")),
	rec("/100/7/1", Int(math.MinInt64)),
	rec("/100/7/2", Uint(math.MaxUint64)),
	rec("/100/7/3", Float(0.1)),
	rec("/100/7/4", Bool(false)),
	rec("/100/7/5", Opaque([]byte{0xfb, 0xff})),
	rec("/100/7/6", Time(time.Unix(-1, 0))),
	rec("/100/7/7", ObjectLink(65535, 65535)),
	rec("/100/7/8/0", String("")),
	rec("/100/7/8/65534", String(strings.Repeat("x", 70000))),
	rec("/100/7/300", Float(0)),
	rec("/100/65534/1", Int(9007199254740993)),
	rec("/100/65534/2", Uint(0)),
	rec("/100/65534/4", Bool(true)),
	rec("/100/65534/300", Float(1e21)),
}

func TestRoundTrip(t *testing.T) {
	for _, f := range []Format{FormatTLV, FormatSenMLJSON, FormatSenMLCBOR, FormatJSON} {
		for _, base := range []string{"/100", "/100/7", "/100/7/8", "/100/7/8/0", "/100/7/1"} {
			var want []Record
			for _, r := range extremes {
				if path(base).Contains(r.Path) {
					want = append(want, r)
				}
			}
			b, err := Encode(f, path(base), want)
			if err != nil {
				t.Fatal(f, base, err)
			}
			got, err := Decode(f, path(base), b, testModel)
			if err != nil {
				t.Fatal(f, base, err)
			}
			if diff := cmp.Diff(want, got, valueComparer); diff != "" {
				t.Errorf("%v %s (-want +got):\n%s", f, base, diff)
			}
		}
	}
}

func TestSenMLTime(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 4, 123e6, time.UTC)
	want := []Record{{Path: path("/100/0/3"), Value: Float(21.5), Time: at}, rec("/100/0/0", String("Cel"))}
	for _, f := range []Format{FormatSenMLJSON, FormatSenMLCBOR, FormatJSON} {
		b, err := Encode(f, path("/100/0"), want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(f, path("/100/0"), b, testModel)
		if diff := cmp.Diff(want, got, valueComparer); diff != "" || err != nil {
			t.Errorf("%v: %v (-want +got):\n%s", f, err, diff)
		}
	}
	got, err := Decode(FormatSenMLJSON, Path{}, []byte(`[{"bn":"100/0/","bt":1700000000,"n":"3","t":5,"v":1}]`), testModel)
	if err != nil || !got[0].Time.Equal(time.Unix(1700000005, 0)) {
		t.Errorf("base time: %v, %v", got, err)
	}
	got, err = Decode(FormatSenMLJSON, Path{}, []byte(`[{"n":"/100/0/3","t":-60,"v":1}]`), testModel)
	if ago := time.Since(got[0].Time); err != nil || ago < 50*time.Second || ago > 10*time.Minute {
		t.Errorf("a small time is relative to now: %v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name    string
		format  Format
		base    string
		payload string
		code    Code
	}{
		{"unknown format", 50, "/3/0/0", "", CodeUnsupportedFormat},
		{"TLV truncated head", FormatTLV, "/3/0", "\xc8", CodeBadRequest},
		{"TLV truncated value", FormatTLV, "/3/0", "\xc1\x09", CodeBadRequest},
		{"TLV at the root", FormatTLV, "/", "\xc1\x09\x01", CodeBadRequest},
		{"TLV for another resource", FormatTLV, "/3/0/9", "\xc1\x10\x55", CodeBadRequest},
		{"TLV instance in instance", FormatTLV, "/3/0", "\x03\x01\xc1\x09\x01", CodeBadRequest},
		{"TLV three byte integer", FormatTLV, "/3/0", "\xc3\x09\x01\x01\x01", CodeBadRequest},
		{"TLV resource instance without resource", FormatTLV, "/3/0", "\x41\x00\x01", CodeBadRequest},
		{"JSON not a list", FormatSenMLJSON, "/3/0", `{"n":"0","v":1}`, CodeBadRequest},
		{"JSON trailing", FormatSenMLJSON, "/3/0", `[] []`, CodeBadRequest},
		{"JSON outside base", FormatSenMLJSON, "/3/0", `[{"n":"/1/0/1","v":1}]`, CodeBadRequest},
		{"JSON object level", FormatSenMLJSON, "/3/0", `[{"n":"/3/0","v":1}]`, CodeBadRequest},
		{"JSON no value", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9"}]`, CodeBadRequest},
		{"JSON two values", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","v":1,"vs":"x"}]`, CodeBadRequest},
		{"JSON wrong kind", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","vs":"x"}]`, CodeBadRequest},
		{"JSON fraction", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","v":1.5}]`, CodeBadRequest},
		{"JSON base value", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","bv":1,"v":1}]`, CodeBadRequest},
		{"1.0 JSON a list", FormatJSON, "/3/0", `[]`, CodeBadRequest},
		{"1.0 JSON no entries", FormatJSON, "/3/0", `{"bn":"/3/0/"}`, CodeBadRequest},
		{"1.0 JSON trailing", FormatJSON, "/3/0", `{"e":[]} 1`, CodeBadRequest},
		{"1.0 JSON two values", FormatJSON, "/3/0", `{"e":[{"n":"/3/0/9","v":1,"sv":"x"}]}`, CodeBadRequest},
		{"1.0 JSON no base64", FormatJSON, "/100/0", `{"e":[{"n":"/100/0/5","sv":"!"}]}`, CodeBadRequest},
		{"JSON bad base64", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","vd":"====="}]`, CodeBadRequest},
		{"JSON must be understood", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","v":1,"must_":1}]`, CodeBadRequest},
		{"JSON newer version", FormatSenMLJSON, "/3/0", `[{"bver":99,"n":"/3/0/9","v":1}]`, CodeBadRequest},
		{"JSON year 10000", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","v":1,"t":253402300800}]`, CodeBadRequest},
		{"JSON year 0", FormatSenMLJSON, "/3/0", `[{"n":"/3/0/9","v":1,"t":-62135596801}]`, CodeBadRequest},
		{"CBOR must be understood", FormatSenMLCBOR, "/3/0", "\x81\xa3\x00\x66/3/0/9\x02\x01\x65must_\x01", CodeBadRequest},
		{"CBOR newer version", FormatSenMLCBOR, "/3/0", "\x81\xa3\x20\x18\x63\x00\x66/3/0/9\x02\x01", CodeBadRequest},
		{"CBOR garbage", FormatSenMLCBOR, "/3/0", "\xff", CodeBadRequest},
		{"CBOR text as number", FormatSenMLCBOR, "/3/0/0", "\x81\xa2\x21\x66/3/0/0\x02\x61x", CodeBadRequest},
		{"text wrong", FormatText, "/3/0/9", "x", CodeBadRequest},
		{"text for an instance", FormatText, "/3/0", "x", CodeBadRequest},
		{"opaque for a number", FormatOpaque, "/3/0/9", "x", CodeBadRequest},
		{"CBOR map", FormatCBOR, "/3/0/9", "\xa0", CodeBadRequest},
	}
	for _, tt := range tests {
		_, err := Decode(tt.format, path(tt.base), []byte(tt.payload), testModel)
		if !errors.Is(err, &Error{Code: tt.code}) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.code)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		format  Format
		base    string
		records []Record
	}{
		{FormatText, "/3/0", extremes[:2]},
		{FormatOpaque, "/100/7/0", extremes[:1]},
		{FormatTLV, "/", extremes},
		{FormatTLV, "/3", extremes},
		{FormatTLV, "/100", []Record{rec("/100/1", Int(1))}},
		{FormatSenMLJSON, "/100", []Record{rec("/100/1/3", Float(math.NaN()))}},
		{FormatJSON, "/100", []Record{rec("/100/1/3", Float(math.Inf(1)))}},
		{FormatLink, "/100", extremes},
	}
	for _, tt := range tests {
		if b, err := Encode(tt.format, path(tt.base), tt.records); err == nil {
			t.Errorf("Encode(%v, %s) = %q, want an error", tt.format, tt.base, b)
		}
	}
}

// fuzzCodec checks that what can be decoded can be encoded and read back.
func fuzzCodec(f *testing.F, format Format) {
	for _, base := range []string{"/100", "/100/7", "/3/0"} {
		records := extremes
		if base == "/3/0" {
			records = []Record{rec("/3/0/6/0", Int(1)), rec("/3/0/9", Int(100))}
		} else if base == "/100/7" {
			records = extremes[:9]
		}
		if b, err := Encode(format, path(base), records); err == nil && len(b) < 1000 {
			f.Add(base, b)
		}
	}
	f.Fuzz(func(t *testing.T, base string, b []byte) {
		p, err := ParsePath(base)
		if err != nil {
			return
		}
		records, err := Decode(format, p, b, testModel)
		if err != nil {
			return
		}
		again, err := Encode(format, p, records)
		if err != nil {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
		if _, err := Decode(format, p, again, testModel); err != nil {
			t.Fatalf("cannot decode what was encoded: %v", err)
		}
	})
}

func FuzzTLV(f *testing.F) { fuzzCodec(f, FormatTLV) }

// TestWholeNumbersAreExact, also those that are written with a fraction of zero; and what
// may be written beside values changes nothing.
func TestWholeNumbersAreExact(t *testing.T) {
	for text, want := range map[string]Value{
		"9007199254740993.0": Int(9007199254740993), "9007199254740993": Int(9007199254740993), "21.0": Float(21), "9.007199254740993e15": Int(9007199254740993), "9.223372036854775807e18": Int(math.MaxInt64), "1e300": Float(1e300), "9007199254740993.5": Float(9007199254740994), "18446744073709551615.00": Uint(math.MaxUint64),
	} {
		if got, err := parseJSONNumber(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	got, err := Decode(FormatSenMLJSON, Path{}, []byte(`[{"bver":10,"n":"/3/0/0","vs":"a_\"","x_y":1}]`), Model{})
	if err != nil || len(got) != 1 || got[0].Value != String(`a_"`) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestClocksThatAreNotSet: a time near 1970 would be read as one that is relative to now.
func TestClocksThatAreNotSet(t *testing.T) {
	for _, f := range []Format{FormatSenMLJSON, FormatSenMLCBOR} {
		for _, at := range []time.Time{time.Unix(300, 0), time.Unix(-300, 0), time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), {}} {
			b, err := Encode(f, Path{}, []Record{{Path: NewPath(100, 0, 3), Value: Float(1), Time: at}})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Decode(f, Path{}, b, testModel); err != nil || len(got) != 1 || !got[0].Time.IsZero() {
				t.Errorf("%v %v: %v, %v", f, at, got, err)
			}
		}
	}
}

// TestTaggedCBOR reads what Anjay Lite makes of times, and what RFC 8428 section 6 lets
// numbers be.
func TestTaggedCBOR(t *testing.T) {
	at := Time(time.Unix(0x6955B900, 0))
	for payload, want := range map[string]Value{
		"c11a6955b900": at, "c1fb41da556e40000000": at, "c074323032362d30312d30315430303a30313a30345a": Time(time.Date(2026, 1, 1, 0, 1, 4, 0, time.UTC)),
		"c482201837": Float(5.5), "c4820105": Float(50), "c249010000000000000000": Float(1 << 64), "c2487fffffffffffffff": Int(math.MaxInt64),
	} {
		b, err := hex.DecodeString(payload)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeCBORValue(b, KindNone); err != nil || got != want {
			t.Errorf("%s: %v %v, %v", payload, got.Kind(), got, err)
		}
		records, err := Decode(FormatSenMLCBOR, Path{}, append([]byte("\x81\xa2\x00\x67/5/0/12\x02"), b...), Model{})
		if err != nil || len(records) != 1 || records[0].Value != want {
			t.Errorf("%s in SenML: %v, %v", payload, records, err)
		}
	}
	for _, payload := range []string{"c48201", "c4820141ff", "c4821b7fffffffffffffff05", "d82a05", "c1f97e00", "c5822003"} {
		b, _ := hex.DecodeString(payload)
		if got, err := decodeCBORValue(b, KindNone); err == nil {
			t.Errorf("%s: %v", payload, got)
		}
	}
}

// TestTheLastMillisecond of the calendar arrives: nothing is sent that is refused.
func TestTheLastMillisecond(t *testing.T) {
	at := time.Date(9999, 12, 31, 23, 59, 59, 999_999_900, time.UTC)
	for _, f := range []Format{FormatSenMLJSON, FormatSenMLCBOR} {
		b, err := Encode(f, Path{}, []Record{{Path: NewPath(100, 0, 3), Value: Float(1), Time: at}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(f, Path{}, b, testModel); err != nil || got[0].Time.Year() != 9999 {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
}

// TestReasonsAreShort, whatever a peer has sent.
func TestReasonsAreShort(t *testing.T) {
	long := strings.Repeat("ä", 50_000)
	_, err := Decode(FormatSenMLJSON, Path{}, []byte(`[{"bn":"`+long+`","n":"1","v":1}]`), Model{})
	answer := errorMessage(err)
	if n := len(answer.Payload); answer.Code != CodeBadRequest || n > 300 || !utf8.Valid(answer.Payload) {
		t.Errorf("%v with %d bytes", answer.Code, n)
	}
	if n := len(errorMessage(&Error{Code: CodeConflict, Reason: long}).Payload); n > 300 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzSenMLJSON(f *testing.F) { fuzzCodec(f, FormatSenMLJSON) }
func FuzzJSON(f *testing.F)      { fuzzCodec(f, FormatJSON) }
func FuzzSenMLCBOR(f *testing.F) { fuzzCodec(f, FormatSenMLCBOR) }
func FuzzCBOR(f *testing.F) {
	f.Add("/3/0/9", []byte{0x18, 0x64})
	fuzzCodec(f, FormatCBOR)
}

func TestPaths(t *testing.T) {
	want := []Path{path("/3/0/0"), path("/1"), path("/3303/0"), path("/3/0/6/1")}
	for _, f := range []Format{FormatSenMLJSON, FormatSenMLCBOR} {
		b, err := EncodePaths(f, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodePaths(f, b)
		if diff := cmp.Diff(want, got, valueComparer); diff != "" || err != nil {
			t.Errorf("%v: %v (-want +got):\n%s", f, err, diff)
		}
	}
	got, err := DecodePaths(FormatSenMLJSON, []byte(`[{"bn":"/3/0/","n":"0"},{"n":"9"}]`))
	if diff := cmp.Diff([]Path{path("/3/0/0"), path("/3/0/9")}, got, valueComparer); diff != "" || err != nil {
		t.Errorf("with a base name: %v (-want +got):\n%s", err, diff)
	}
	for payload, format := range map[string]Format{`[{"n":"/3/0/9","v":1}]`: FormatSenMLJSON, `[{}]`: FormatSenMLJSON, `[{"n":"x"}]`: FormatSenMLJSON, "\xff": FormatSenMLCBOR, "": FormatTLV} {
		if got, err := DecodePaths(format, []byte(payload)); err == nil {
			t.Errorf("%q: %v, want an error", payload, got)
		}
	}
	if _, err := EncodePaths(FormatTLV, want); err == nil {
		t.Error("TLV cannot hold paths")
	}
}

func FuzzPaths(f *testing.F) {
	for _, format := range []Format{FormatSenMLJSON, FormatSenMLCBOR} {
		b, _ := EncodePaths(format, []Path{path("/3/0/0"), path("/1")})
		f.Add(uint16(format), b)
	}
	f.Fuzz(func(t *testing.T, format uint16, b []byte) {
		paths, err := DecodePaths(Format(format), b)
		if err != nil {
			return
		}
		if _, err := EncodePaths(Format(format), paths); err != nil {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
	})
}
