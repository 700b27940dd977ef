package main

import (
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

type state map[string]any

// counter turns 1 {"count":3} ⇄ 2 {"total":3} ⇄ 3 {"total":3,"note":<param note>}.
func counter() {
	transform.JSON(func(old state, e transform.Edge) (state, error) {
		fmt.Fprintln(os.Stderr, "transforming", e.File)
		switch e.Way() {
		case "1→2":
			return state{"total": old["count"]}, nil
		case "2→3":
			return state{"total": old["total"], "note": e.Params["note"]}, nil
		case "3→2":
			return state{"total": old["total"]}, nil
		case "2→1":
			return state{"count": old["total"]}, nil
		}
		return nil, e.Unknown()
	})
}
