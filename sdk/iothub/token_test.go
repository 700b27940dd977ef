package iothub_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const (
	key   = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=" // "secret-secret-secret"
	other = "b3RoZXItb3RoZXItb3RoZXItb3RoZXI="
)

var now = time.Unix(1_700_000_000, 0)

func sign(t *testing.T, resource, policy string) string {
	t.Helper()
	token, err := iothub.SignToken(resource, key, policy, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokenVerifies(t *testing.T) {
	text := sign(t, "hub.example/devices/dev+1", "device")
	fields := strings.Split(strings.TrimPrefix(text, "SharedAccessSignature "), "&")
	shuffled := "SharedAccessSignature " + fields[3] + "&" + fields[1] + "&" + fields[2] + "&" + fields[0]
	for _, text := range []string{text, shuffled} {
		token, err := iothub.ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := token.Verify(key, now); err != nil {
			t.Error(err)
		}
		if err := token.Verify(other, now); !errors.Is(err, iothub.ErrTokenSignature) {
			t.Error(err)
		}
		if err := token.Verify(key, now.Add(time.Hour)); !errors.Is(err, iothub.ErrTokenExpired) {
			t.Error(err)
		}
		if token.Policy != "device" || !token.Covers("/devices/dev+1") {
			t.Errorf("%+v", token)
		}
	}
}

// What other SDKs send, signed with HMAC-SHA256 by openssl: lower-case escapes (.NET), and no escapes at all (Node, service).
func TestTokensOfOtherSDKs(t *testing.T) {
	for _, text := range []string{
		"SharedAccessSignature sr=hub.example%2fdevices%2fdev1&sig=0Kj8eb%2Bg3%2BXGCmidD0VlMwxv4KXlc2IgHbAivy%2F5lDE%3D&se=1700003600",
		"SharedAccessSignature sr=hub.example/devices/dev1&sig=FKz5QBn%2FzP2BtA3tIVcIpJIiNAHTHDtJ6bTKT76euag%3D&skn=service&se=1700003600",
	} {
		token, err := iothub.ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := token.Verify(key, now); err != nil {
			t.Error(text, err)
		}
		if !token.Covers("/devices/dev1") {
			t.Error(text, "does not cover its device")
		}
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		resource, path string
		want           bool
	}{
		{"hub", "/devices/dev1", true},
		{"hub/", "/devices/dev1", true},
		{"hub/devices", "/devices/dev1", true},
		{"HUB/Devices/DEV1", "/devices/dev1", true},
		{"hub/devices/dev", "/devices/dev1", false},
		{"hub/devices/dev1/modules/m", "/devices/dev1", false},
		{"hub/devices/dev2", "/devices/dev1", false},
		{"hub/devices/a%b+c", "/devices/a%b+c", true},
	} {
		token, err := iothub.ParseToken(sign(t, test.resource, ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := token.Covers(test.path); got != test.want {
			t.Errorf("%s covers %s: %v", test.resource, test.path, got)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("SharedAccessSignature sr=hub%2Fdevices%2Fa&sig=c2ln&se=1700003600&skn=device")
	f.Add("SharedAccessSignature sr=a&sr=b&sig=&se=0")
	f.Add("SharedAccessSignature sr=%zz&sig=%&se=-1")
	f.Add("Bearer x")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := iothub.ParseToken(text)
		if err != nil {
			return
		}
		token.Covers("/devices/a")
		if token.Verify(key, now) == nil {
			t.Errorf("forged: %q", text)
		}
	})
}
