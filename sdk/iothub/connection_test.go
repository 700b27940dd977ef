package iothub_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

func TestConnectionString(t *testing.T) {
	for _, test := range []struct {
		text       string
		want       iothub.ConnectionString
		http, mqtt string
	}{
		{
			"HostName=hub.example;DeviceId=dev1;SharedAccessKey=" + key,
			iothub.ConnectionString{HostName: "hub.example", DeviceID: "dev1", Key: key},
			"https://hub.example", "mqtts://hub.example:8883",
		}, {
			"HostName=127.0.0.1:8080;SharedAccessKeyName=service;SharedAccessKey=" + key + ";Insecure=true",
			iothub.ConnectionString{HostName: "127.0.0.1:8080", PolicyName: "service", Key: key, Insecure: true},
			"http://127.0.0.1:8080", "mqtt://127.0.0.1:8080",
		}, {
			"HostName=hub.example;DeviceId=dev1;ModuleId=mod;SharedAccessKey=" + key,
			iothub.ConnectionString{HostName: "hub.example", DeviceID: "dev1", ModuleID: "mod", Key: key},
			"https://hub.example", "mqtts://hub.example:8883",
		}, {
			"HostName=hub;GatewayHostName=gate;SharedAccessKeyName=device;SharedAccessKey=" + key + ";Insecure=true",
			iothub.ConnectionString{HostName: "hub", GatewayHostName: "gate", PolicyName: "device", Key: key, Insecure: true},
			"http://gate", "mqtt://gate:1883",
		},
	} {
		got, err := iothub.ParseConnectionString(test.text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
		if got.String() != test.text {
			t.Errorf("formats as %s", got)
		}
		if got.HTTPURL() != test.http || got.MQTTURL() != test.mqtt {
			t.Errorf("%s %s", got.HTTPURL(), got.MQTTURL())
		}
	}
}

func TestConnectionStringRefuses(t *testing.T) {
	for _, text := range []string{
		"", "HostName", "HostName=h", "HostName=h;DeviceId=d", "HostName=h;DeviceId=d;SharedAccessKey=!",
		"HostName=h;DeviceId=d;SharedAccessKeyName=p;SharedAccessKey=" + key,
		"HostName=h;ModuleId=m;SharedAccessKeyName=p;SharedAccessKey=" + key,
		"HostName=h;DeviceId=d;Insecure=yes;SharedAccessKey=" + key,
		"DeviceId=d;SharedAccessKey=" + key,
	} {
		if got, err := iothub.ParseConnectionString(text); err == nil {
			t.Errorf("%q is accepted: %v", text, got)
		} else if strings.Contains(err.Error(), key) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

func TestTokensOfConnectionString(t *testing.T) {
	device := iothub.ConnectionString{HostName: "hub", DeviceID: "d", Key: key}
	module := iothub.ConnectionString{HostName: "hub", DeviceID: "d", ModuleID: "m", Key: key}
	policy := iothub.ConnectionString{HostName: "hub", PolicyName: "p", Key: key}
	for want, make := range map[string]func(time.Time) (string, error){
		"hub%2Fdevices%2Fd": device.DeviceToken, "hub%2Fdevices%2Fd%2Fmodules%2Fm": module.DeviceToken, "hub%2Fdevices": policy.DeviceToken, "hub": policy.ServiceToken,
	} {
		text, err := make(now)
		if err != nil {
			t.Fatal(err)
		}
		token, err := iothub.ParseToken(text)
		if err != nil || token.Resource != want {
			t.Errorf("resource %q, want %q, %v", token.Resource, want, err)
		}
	}
	if _, err := device.ServiceToken(now); err == nil {
		t.Error("a device signs as a service")
	}
}

func TestKeyIsNotLogged(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "hub", iothub.ConnectionString{HostName: "h", DeviceID: "d", Key: key})
	if strings.Contains(out.String(), key) {
		t.Error(out.String())
	}
}

func FuzzParseConnectionString(f *testing.F) {
	f.Add("HostName=h;DeviceId=d;SharedAccessKey=" + key)
	f.Add("hostname=h;SharedAccessKeyName=p;SharedAccessKey=" + key + ";Insecure=true;")
	f.Fuzz(func(t *testing.T, text string) {
		cs, err := iothub.ParseConnectionString(text)
		if err != nil {
			return
		}
		again, err := iothub.ParseConnectionString(cs.String())
		if err != nil || again != cs {
			t.Errorf("%q became %q: %v", text, cs, err)
		}
	})
}
