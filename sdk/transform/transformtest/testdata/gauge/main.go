// Gauge is the transform of the kit's tests. It renames a list of numbers:
// 1 {"c":[…]} ⇄ 2 {"celsius":[…]} ⇄ 3 {"celsius":[…],"unit":"C"}, and has the
// flaw that its param asks for.
package main

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

type state map[string]json.RawMessage

func main() {
	transform.JSON(func(s state, e transform.Edge) (state, error) {
		if e.From == 1 {
			if s["c"] == nil {
				return nil, transform.Refuse("there is no c")
			}
			s["celsius"] = s["c"]
			delete(s, "c")
		}
		if e.From == 3 && string(s["unit"]) != `"C"` {
			return nil, transform.Refuse("the unit is %s", s["unit"])
		}
		if e.To == 3 {
			s["unit"] = json.RawMessage(`"C"`)
		} else {
			delete(s, "unit")
		}
		if e.To == 1 {
			s["c"] = s["celsius"]
			delete(s, "celsius")
		}
		return s, flaw(s, e)
	})
}

func flaw(s state, e transform.Edge) error {
	var values []float64
	json.Unmarshal(s["celsius"], &values)
	switch e.Params["flaw"] {
	case "digits":
		s["celsius"], _ = json.Marshal(values)
	case "panic":
		for _, v := range values {
			if math.Abs(v) > 1000 {
				panic(fmt.Sprintf("%v is too hot", v))
			}
		}
	case "detour":
		if e.From == 1 && e.To == 3 {
			s["unit"] = json.RawMessage(`"K"`)
		}
	}
	return nil
}
