package lwm2m

import (
	"fmt"
	"testing"
	"time"
)

// benchmarkRecords are an instance with one resource of each kind.
var benchmarkRecords = []Record{
	rec("/100/7/0", String("Open Mobile Alliance")),
	rec("/100/7/1", Int(-123456)),
	rec("/100/7/2", Uint(123456)),
	rec("/100/7/3", Float(21.5)),
	rec("/100/7/4", Bool(true)),
	rec("/100/7/5", Opaque([]byte("0123456789abcdef"))),
	rec("/100/7/6", Time(time.Unix(1_700_000_000, 0))),
	rec("/100/7/7", ObjectLink(66, 0)),
	rec("/100/7/8/0", String("a")),
	rec("/100/7/8/1", String("b")),
}

// BenchmarkCodecs encodes and decodes ten resources; B/payload is their size.
func BenchmarkCodecs(b *testing.B) {
	base := path("/100/7")
	for _, f := range []Format{FormatTLV, FormatSenMLCBOR, FormatSenMLJSON, FormatJSON} {
		payload, err := Encode(f, base, benchmarkRecords)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("encode/%v", f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(f, base, benchmarkRecords); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(payload)), "B/payload")
		})
		b.Run(fmt.Sprintf("decode/%v", f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(f, base, payload, testModel); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
