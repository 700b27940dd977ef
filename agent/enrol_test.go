package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

// The servers of a hub's device are where the hub is, or where it is said.
func TestConnected(t *testing.T) {
	const key = "AAAAAAAAAAAAAAAAAAAAAA=="
	here := enrol.Grant{Device: "d", Key: make([]byte, 16), Server: "coaps://hub.example.org:5684", Files: "coaps://hub.example.org:5685"}
	there := here
	there.Server, there.Files = "coaps://bridge:1", "https://files"
	for text, test := range map[string]struct {
		options options
		want    enrol.Grant
		err     string
	}{
		"HostName=hub.example.org;DeviceId=d;SharedAccessKey=" + key:       {options{}, here, ""},
		" sharedaccesskey=" + key + ";DeviceId=d;HostName=hub.example.org": {options{}, here, ""},
		"HostName=hub.example.org:8883;DeviceId=d;SharedAccessKey=" + key:  {options{}, here, ""},
		"HostName=elsewhere;DeviceId=d;SharedAccessKey=" + key:             {options{server: "coaps://bridge:1", files: "https://files"}, there, ""},
		"HostName=h;SharedAccessKeyName=p;SharedAccessKey=" + key:          {options{}, enrol.Grant{}, "is no connection string of a device"},
		"HostName=h;DeviceId=d;SharedAccessKey=x":                          {options{}, enrol.Grant{}, "is no connection string of a device"},
		"HostName=h;DeviceId=d;SharedAccessKey=AAAA":                       {options{}, here, "the key of 3 bytes cannot be used"},
		"a=b": {options{}, enrol.Grant{}, "is no connection string of a device"},
	} {
		got, err := test.options.connected(text)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %s", text, err, test.err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Error(text, err, diff)
		}
	}
}

// What is tried is read where it will be.
func TestExchanged(t *testing.T) {
	for _, test := range [][2][]string{
		{{"a.toml"}, {"a.toml", "new"}},
		{{"a.toml", "d/10", "d/90"}, {"a.toml", "d/10", "new", "d/90"}},
		{{"a.toml", "d/10", "d/50", "d/90"}, {"a.toml", "d/10", "new", "d/90"}},
	} {
		if got := exchanged(slices.Clone(test[0]), "d/50", "new"); !slices.Equal(got, test[1]) {
			t.Errorf("%v became %v", test[0], got)
		}
		if got := exchanged(test[0], "", ""); !slices.Equal(got, test[0]) {
			t.Errorf("%v became %v", test[0], got)
		}
	}
}
