// Package milli holds exact temperatures: thousandths of a degree in an
// integer. Sums never drift, and Celsius → Kelvin → Celsius gives back the
// very same bytes, which a state transform and its way back must.
package milli

import (
	"fmt"
	"strconv"
	"strings"
)

// ZeroCelsius is 0 °C in kelvin.
const ZeroCelsius Degrees = 273_150

// Degrees are thousandths of a degree Celsius or of a kelvin. In JSON they
// are a number with exactly three decimals: 21.500.
type Degrees int64

// Float returns the temperature in whole units.
func (d Degrees) Float() float64 { return float64(d) / 1000 }

// String writes three decimals.
func (d Degrees) String() string {
	sign, n := "", uint64(d)
	if d < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%d.%03d", sign, n/1000, n%1000)
}

// MarshalJSON writes what String does.
func (d Degrees) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads a plain JSON number with at most three decimals.
func (d *Degrees) UnmarshalJSON(b []byte) error {
	whole, fraction, _ := strings.Cut(string(b), ".")
	if len(fraction) > 3 {
		return fmt.Errorf("temperature %q has more than three decimals", b)
	}
	v, err := strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
	if err != nil || strings.Trim(whole, "+-") == "" {
		return fmt.Errorf("temperature %q is not a plain decimal number", b)
	}
	*d = Degrees(v)
	return nil
}
