package host

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		format, content string
		ok              bool
	}{
		{"", "\x00", true},
		{"bytes", "", true},
		{"json", ` {"a":[1,{"b":null}]} ` + "\n", true},
		{"json", "3", true},
		{"json", "", false},
		{"json", `{"a":[1`, false},
		{"json", `[1,]`, false},
		{"json", `{"a":1,}`, false},
		{"json", `{} {}`, false},
		{"json", `{}]`, false},
		{"ndjson", "{}\n\n[1]\n2", true},
		{"ndjson", "", true},
		{"ndjson", "{}\n{\"a\":", false},
		{"ndjson", "1 2\n", false},
	} {
		err := validate(test.format, strings.NewReader(test.content))
		if (err == nil) != test.ok {
			t.Errorf("%s %q: got %v", test.format, test.content, err)
		}
	}
}

func FuzzValidateJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e3,"\u00e4",true,null,{}]}`))
	f.Add([]byte(`[[],{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := validateJSON(bytes.NewReader(data)); (err == nil) != json.Valid(data) {
			t.Errorf("%q: got %v, json.Valid says %v", data, err, json.Valid(data))
		}
	})
}
