package lwm2m

func encodeSingle(f Format, records []Record) ([]byte, error)                         { panic("soon") }
func encodeTLV(base Path, records []Record) ([]byte, error)                           { panic("soon") }
func encodeSenMLJSON(base Path, records []Record) ([]byte, error)                     { panic("soon") }
func encodeSenMLCBOR(base Path, records []Record) ([]byte, error)                     { panic("soon") }
func decodeSingle(f Format, base Path, payload []byte, model Model) ([]Record, error) { panic("soon") }
func decodeTLV(base Path, payload []byte, model Model) ([]Record, error)              { panic("soon") }
func decodeSenMLJSON(base Path, payload []byte, model Model) ([]Record, error)        { panic("soon") }
func decodeSenMLCBOR(base Path, payload []byte, model Model) ([]Record, error)        { panic("soon") }
func linkPath(l Link, root string) (Path, error)                                      { panic("soon") }
func encodeLinks(links []Link) []byte                                                 { panic("soon") }
func decodeLinks(payload []byte) ([]Link, error)                                      { panic("soon") }
