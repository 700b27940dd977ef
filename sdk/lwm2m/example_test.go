package lwm2m_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// One list of values, in two formats.
func ExampleEncode() {
	device := lwm2m.NewPath(3, 0)
	records := []lwm2m.Record{
		{Path: device.Child(0), Value: lwm2m.String("Example")},
		{Path: device.Child(9), Value: lwm2m.Int(100)},
	}
	for _, f := range []lwm2m.Format{lwm2m.FormatSenMLJSON, lwm2m.FormatTLV} {
		payload, err := lwm2m.Encode(f, device, records)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v: %q\n", f, payload)
	}
	// Output:
	// SenML JSON: "[{\"bn\":\"/3/0/\",\"n\":\"0\",\"vs\":\"Example\"},{\"n\":\"9\",\"v\":100}]"
	// TLV: "\xc7\x00Example\xc1\td"
}

// An object of one's own, defined as the OMA registry does.
func ExampleParseDDF() {
	const file = `<LWM2M><Object>
		<Name>Valve</Name><ObjectID>33000</ObjectID><MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
		<Resources><Item ID="1">
			<Name>Position</Name><Operations>RW</Operations><MultipleInstances>Single</MultipleInstances>
			<Mandatory>Mandatory</Mandatory><Type>Float</Type><Units>/100</Units>
		</Item></Resources>
	</Object></LWM2M>`
	definitions, err := lwm2m.ParseDDF(strings.NewReader(file))
	if err != nil {
		fmt.Println(err)
		return
	}
	model := lwm2m.NewModel(definitions...)
	records, err := lwm2m.Decode(lwm2m.FormatText, lwm2m.NewPath(33000, 0, 1), []byte("62.5"), model)
	fmt.Println(records[0].Path, records[0].Value.Kind(), records[0].Value, err)
	// Output: /33000/0/1 float 62.5 <nil>
}

// What a bootstrap server gives a device, and how the device reads it.
func ExampleParseAccounts() {
	account := lwm2m.Account{
		URI: "coaps://example.org", Mode: lwm2m.SecurityPSK, Identity: []byte("greenhouse"), SecretKey: []byte("0123456789abcdef"),
		ShortID: 1, Lifetime: time.Hour,
	}
	accounts, err := lwm2m.ParseAccounts(account.Records(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(accounts[0].URI, string(accounts[0].Identity), accounts[0].Lifetime)
	// Output: coaps://example.org greenhouse 1h0m0s
}

func ExampleParseArguments() {
	arguments, err := lwm2m.ParseArguments("0='once',3")
	fmt.Println(arguments, err)
	// Output: [{0 once} {3 }] <nil>
}
