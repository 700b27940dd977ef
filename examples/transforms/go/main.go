// A state transform in Go: the history of a sensor, from rows in degrees
// Celsius (schema 1) to columns in Kelvin (schema 2), and back. It scans the
// bytes itself, since encoding/json is slow in Wasm.
package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

const (
	timeLayout  = "2006-01-02T15:04:05.000Z"
	zeroCelsius = 273150 // thousandths of a Kelvin
	limit       = 1_000_000_000
)

func main() {
	transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
		text, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		s := &scanner{text: text}
		var result []byte
		switch e.Way() {
		case "1→2":
			result = s.toColumns()
		case "2→1":
			result = s.toRows()
		default:
			return e.Unknown()
		}
		if s.expect(""); s.err == nil && s.at < len(text) {
			s.fail("something follows")
		}
		if s.err != nil {
			return s.err
		}
		_, err = out.Write(result)
		return err
	})
}

// A scanner reads JSON of which it knows the order of members. After its first
// error it does nothing more.
type scanner struct {
	text []byte
	at   int
	err  error
}

func (s *scanner) fail(why string) {
	if s.err == nil {
		s.err = transform.Refuse("byte %d: %s", s.at, why)
	}
}

// next passes over white space and reports whether a token follows, which it
// passes over as well.
func (s *scanner) next(token string) bool {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\n' || s.text[s.at] == '\t' || s.text[s.at] == '\r') {
		s.at++
	}
	if s.err != nil || len(s.text)-s.at < len(token) || string(s.text[s.at:s.at+len(token)]) != token {
		return false
	}
	s.at += len(token)
	return true
}

func (s *scanner) expect(tokens ...string) {
	for _, token := range tokens {
		if !s.next(token) {
			s.fail("expected " + token)
		}
	}
}

// digits reads a natural number below limit, and how many digits it has.
func (s *scanner) digits() (n, count int) {
	for ; s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9'; s.at++ {
		if n = n*10 + int(s.text[s.at]-'0'); n >= limit {
			s.fail("too large a number")
			return 0, 1
		}
		count++
	}
	if count == 0 {
		s.fail("expected a number")
	}
	return n, count
}

func (s *scanner) natural() int {
	s.next("")
	n, _ := s.digits()
	return n
}

// milli reads a decimal fraction as thousandths.
func (s *scanner) milli() int {
	sign := 1
	if s.next("-") {
		sign = -1
	}
	n, _ := s.digits()
	n *= 1000
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		fraction, count := s.digits()
		if count > 3 {
			s.fail("more than three decimals")
		}
		for ; count < 3; count++ {
			fraction *= 10
		}
		n += fraction
	}
	if s.at < len(s.text) && (s.text[s.at] == 'e' || s.text[s.at] == 'E') {
		s.fail("a number with an exponent")
	}
	return sign * n
}

// millis reads a time in milliseconds since 1970.
func (s *scanner) millis() int {
	s.expect(`"`)
	end := min(s.at+len(timeLayout), len(s.text))
	at, err := time.Parse(timeLayout, string(s.text[s.at:end]))
	if err != nil || at.Year() < 1970 {
		s.fail("no time since 1970")
	}
	s.at = end
	s.expect(`"`)
	return int(at.UnixMilli())
}

func appendMilli(b []byte, n int) []byte {
	if n < 0 {
		b = append(b, '-')
		n = -n
	}
	b = strconv.AppendInt(b, int64(n/1000), 10)
	if n %= 1000; n > 0 {
		fraction := fmt.Sprintf(".%03d", n)
		for fraction[len(fraction)-1] == '0' {
			fraction = fraction[:len(fraction)-1]
		}
		b = append(b, fraction...)
	}
	return b
}

func (s *scanner) toColumns() []byte {
	var kelvin, times []byte
	first, count := 0, 0
	s.expect("[")
	for s.err == nil {
		s.expect("{", `"seq"`, ":")
		seq := s.natural()
		s.expect(",", `"time"`, ":")
		at := s.millis()
		s.expect(",", `"celsius"`, ":")
		celsius := s.milli()
		s.expect("}")
		if count == 0 {
			first = seq
		} else {
			kelvin, times = append(kelvin, ','), append(times, ',')
		}
		if seq != first+count {
			s.fail("a reading is missing")
		}
		kelvin, times = appendMilli(kelvin, celsius+zeroCelsius), strconv.AppendInt(times, int64(at), 10)
		count++
		if !s.next(",") {
			break
		}
	}
	s.expect("]")
	return fmt.Appendf(nil, `{"unit":"K","first":%d,"kelvin":[%s],"time":[%s]}`+"\n", first, kelvin, times)
}

func (s *scanner) toRows() []byte {
	s.expect("{", `"unit"`, ":", `"K"`, ",", `"first"`, ":")
	first := s.natural()
	s.expect(",", `"kelvin"`, ":", "[")
	kelvin := []int{s.milli()}
	for s.next(",") {
		kelvin = append(kelvin, s.milli())
	}
	s.expect("]", ",", `"time"`, ":", "[")
	rows := []byte{'['}
	for i, k := range kelvin {
		if i > 0 {
			s.expect(",")
			rows = append(rows, ',')
		}
		at := s.time()
		rows = fmt.Appendf(rows, `{"seq":%d,"time":"%s","celsius":`, first+i, at)
		rows = append(appendMilli(rows, k-zeroCelsius), '}')
	}
	s.expect("]", "}")
	return append(rows, "]\n"...)
}

// time reads milliseconds since 1970, until the year 9999.
func (s *scanner) time() string {
	s.next("")
	n, count := int64(0), 0
	for ; s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9'; s.at++ {
		if n = n*10 + int64(s.text[s.at]-'0'); n >= 253402300800000 {
			s.fail("too late a time")
			return ""
		}
		count++
	}
	if count == 0 {
		s.fail("expected a time")
	}
	return time.UnixMilli(n).UTC().Format(timeLayout)
}
