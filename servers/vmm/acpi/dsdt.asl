// The guest's fixed devices: soft-off, a PCI bus, COM1 and the clock. Interrupts and timers are described
// by FADT and MADT. What is not here costs the guest no probing. What only some VMs have is switched on where the table is
// written: acpi/dsdt_options.hpp.
DefinitionBlock ("", "DSDT", 2, "MARGAY", "GUEST", 0x00000001)
{
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_BBN, Zero)
            // Resources of every VM, and where there is a second window that: its addresses are written in.
            Name (CRSA, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x0000, 0x0000, 0x0001)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
            })
            Name (CRSB, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x0000000000000000, 0x4D41524741590000, 0x4D4152474159FFFF, 0x0000000000000000,
                    0x0000000000010000)
            })
            // Where interrupt lines of functions end, at the I/O APIC: it is called _PRT where there are any.
            Name (XPRT, Package ()
            {
                Package () { 0x0002FFFF, 0, Zero, 16 },
                Package () { 0x0002FFFF, 1, Zero, 17 },
                Package () { 0x0002FFFF, 2, Zero, 18 },
                Package () { 0x0002FFFF, 3, Zero, 19 },
                Package () { 0x0003FFFF, 0, Zero, 16 },
                Package () { 0x0003FFFF, 1, Zero, 17 },
                Package () { 0x0003FFFF, 2, Zero, 18 },
                Package () { 0x0003FFFF, 3, Zero, 19 },
                Package () { 0x0004FFFF, 0, Zero, 16 },
                Package () { 0x0004FFFF, 1, Zero, 17 },
                Package () { 0x0004FFFF, 2, Zero, 18 },
                Package () { 0x0004FFFF, 3, Zero, 19 },
                Package () { 0x0005FFFF, 0, Zero, 16 },
                Package () { 0x0005FFFF, 1, Zero, 17 },
                Package () { 0x0005FFFF, 2, Zero, 18 },
                Package () { 0x0005FFFF, 3, Zero, 19 }
            })
            Name (WIDE, Zero)
            Method (_CRS)
            {
                If (WIDE) { Return (ConcatenateResTemplate (CRSA, CRSB)) }
                Return (CRSA)
            }
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, One)
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                IRQNoFlags () { 4 }
            })
        }

        Device (RTC0)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                IRQNoFlags () { 8 }
            })
        }
    }
}
