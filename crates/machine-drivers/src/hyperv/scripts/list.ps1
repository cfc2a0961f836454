# Operation: list
# All virtual machines: what identifies them, what they do, and the addresses that their guests tell. What this computer
# has seen of its neighbours in the network stands beside: it has addresses of guests that tell nothing.
$machines = @(Hyper-V\Get-VM | ForEach-Object {
    $machine = $_
    @{
        id         = [string]$machine.Id
        name       = [string]$machine.Name
        state      = [string]$machine.State
        path       = [string]$machine.Path
        generation = [int]$machine.Generation
        disks      = @($machine.HardDrives | ForEach-Object { [string]$_.Path })
        macs       = @($machine.NetworkAdapters | ForEach-Object { [string]$_.MacAddress })
        addresses  = @($machine.NetworkAdapters | ForEach-Object { $_.IPAddresses } | ForEach-Object { [string]$_ })
    }
})
$neighbours = @()
try {
    $neighbours = @(Get-NetNeighbor -AddressFamily IPv4 | Where-Object { $_.LinkLayerAddress } | ForEach-Object {
        @{ address = [string]$_.IPAddress; mac = [string]$_.LinkLayerAddress; state = [string]$_.State }
    })
} catch {
    $neighbours = @()
}
Write-Answer @{ machines = $machines; neighbours = $neighbours }
