package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"
)

// wantJSON wants what a command has printed to be JSON values and nothing else; a name wants the first to be an object
// that has it.
func wantJSON(ts *testscript.TestScript, _ bool, args []string) {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	for n := 0; ; n++ {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) && n > 0 {
			return
		}
		ts.Check(err)
		object, _ := v.(map[string]any)
		if list, is := v.([]any); is && len(list) > 0 {
			object, _ = list[0].(map[string]any)
		}
		if _, has := object[strings.Join(args, "")]; n == 0 && len(args) > 0 && !has {
			ts.Fatalf("it has no %s", args[0])
		}
	}
}

// TestJSONEverywhere: json.txtar has each command that there is.
func TestJSONEverywhere(t *testing.T) {
	script, err := os.ReadFile("testdata/script/json.txtar")
	if err != nil {
		t.Fatal(err)
	}
	parser := kong.Must(&cli{}, kong.Vars{"version": ""})
	var tried []string
	for line := range strings.SplitSeq(string(script), "\n") {
		if _, args, is := strings.Cut(line, "exec tranquil "); is && strings.Contains(line, "json") {
			node, _, _ := walk(parser.Model.Node, strings.Fields(args))
			tried = append(tried, node.FullPath())
		}
	}
	for _, leaf := range parser.Model.Leaves(true) {
		if !slices.Contains(tried, leaf.FullPath()) {
			t.Errorf("nobody tries %s -o json", leaf.FullPath())
		}
	}
}

// walk finds the command that words are of, its arguments so far, and the flag whose
// value comes next.
func walk(node *kong.Node, words []string) (at *kong.Node, given []string, open *kong.Flag) {
	for _, word := range words {
		switch {
		case open != nil:
			open = nil
		case strings.HasPrefix(word, "-"):
			open = valueOf(node, word)
		default:
			if child := childOf(node, word); child != nil && len(given) == 0 {
				node = child
			} else {
				given = append(given, word)
			}
		}
	}
	return node, given, open
}

// valueOf is the flag that a word names, if its value is the next word.
func valueOf(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, flag := range group {
			named := word == "--"+flag.Name || flag.Short != 0 && word == "-"+string(flag.Short)
			if named && !flag.IsBool() && flag.Target.Kind() != reflect.Bool {
				return flag
			}
		}
	}
	return nil
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name || slices.Contains(child.Aliases, name) {
			return child
		}
	}
	return nil
}
