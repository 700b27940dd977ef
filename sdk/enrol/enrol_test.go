package enrol

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInvitation(t *testing.T) {
	for _, i := range []Invitation{
		{Host: "hub.example.org:9443", Token: "ABC", Authority: bytes.Repeat([]byte{0xab}, 32)},
		{Host: "[::1]:9443", Token: "ABC", Authority: []byte{}},
	} {
		got, err := Parse(" " + i.String() + "\n")
		if diff := cmp.Diff(i, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if strings.ContainsAny(i.String(), "'\"\\$&;()<>|*?# ") && !strings.Contains(i.Host, "[") {
			t.Errorf("%s has something for the shell", i)
		}
	}
	for text, want := range map[string]string{
		"":                               "is no invitation",
		"http://h/enrol/A":               "is no invitation",
		"https://h/login":                "is no invitation",
		"https://u@h/enrol/A":            "is no invitation",
		"https://h/enrol/":               "cut off",
		"https://h/enrol/A.abcd":         "cut off",
		"https://h/enrol/A.xy":           "cut off",
		"HostName=h;DeviceId=d":          "is no invitation",
		"https://h/enrol/A.abab%2":       "is no invitation",
		"https://h/enrol/.abababababab":  "cut off",
		"https://h:99999999/enrol/.abab": "",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestGrant(t *testing.T) {
	good := Grant{Device: "d", Server: "coaps://h:5684", Key: make([]byte, 32), Files: "coaps://h:5685"}
	for want, change := range map[string]func(*Grant){
		"":                    func(*Grant) {},
		"which device":        func(g *Grant) { g.Device = "" },
		"of its LwM2M server": func(g *Grant) { g.Server = "h:5684" },
		"of its file server":  func(g *Grant) { g.Files = "" },
		"the key of 15 bytes": func(g *Grant) { g.Key = g.Key[:15] },
		"the key of 0 bytes":  func(g *Grant) { g.Key = nil },
		"the key of 65 bytes": func(g *Grant) { g.Key = make([]byte, 65) },
	} {
		g := good
		change(&g)
		if err := g.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("https://hub.example.org:9443/enrol/TOKEN.abababababababababababababababababababababababababababababababab")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(i.String()); err == nil && !cmp.Equal(again.Authority, i.Authority) {
			t.Errorf("%q became %+v and %+v", text, i, again)
		}
	})
}
