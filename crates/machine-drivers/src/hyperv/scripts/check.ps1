# Operation: check
# Whether Hyper-V can be used by this user, and which switches there are.
$module = @(Get-Module -ListAvailable -Name Hyper-V).Count -gt 0
$user = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
$administrator = $user.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
# The group Hyper-V Administrators has another name in other languages, but this identifier everywhere.
$group = New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-578'
$member = $user.IsInRole($group)
$switches = @()
if ($module -and ($administrator -or $member)) {
    $switches = @(Hyper-V\Get-VMSwitch | ForEach-Object {
        @{ id = [string]$_.Id; name = [string]$_.Name; type = [string]$_.SwitchType }
    })
}
Write-Answer @{
    given         = [string]$env:MACHINE_HYPERV_GIVEN
    module        = $module
    administrator = $administrator
    member        = $member
    switches      = $switches
}
